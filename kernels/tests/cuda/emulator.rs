//! Kernels in the emulator of `cuda/host`, told what to run by its stdin.

use crate::building::{Build, built};
use std::cell::RefCell;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

/// The order in which threads take turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Forward,
    Reverse,
    Random(u32),
}

pub(crate) const ORDERS: [Order; 4] = [Order::Forward, Order::Reverse, Order::Random(1), Order::Random(2)];

/// What a kernel is given.
pub(crate) enum Argument<'a> {
    Value(&'a [u8]),
    Buffer(&'a [u8]),
}

pub(crate) struct Launch<'a> {
    pub(crate) kernel: &'a str,
    pub(crate) grid: [u32; 3],
    pub(crate) block: [u32; 3],
    pub(crate) shared: u32,
    pub(crate) order: Order,
}

/// Kernels, one at a time.
pub(crate) struct Emulator {
    program: PathBuf,
    /// As long as nothing was wrong: the next launch goes there, too.
    running: RefCell<Option<Running>>,
}

struct Running {
    child: Child,
    /// What it says is wrong.
    said: JoinHandle<String>,
}

/// The folder of kernels.
pub(crate) fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cuda")
}

impl Emulator {
    /// With checks, or why there is none.
    pub(crate) fn new(build: Build) -> Result<Emulator, String> {
        built(build, &sources()).map(|program| Emulator { program, running: RefCell::default() })
    }
}

impl Emulator {
    /// The buffers after a launch of blocks of 256 threads, in which nothing is wrong.
    pub(crate) fn run<const N: usize>(
        &self,
        kernel: &str,
        grid: [usize; N],
        order: Order,
        arguments: &[Argument<'_>],
    ) -> Vec<Vec<u8>> {
        self.run_blocks(kernel, grid, 256, order, arguments)
    }

    /// The same for blocks of any number of threads.
    pub(crate) fn run_blocks<const N: usize>(
        &self,
        kernel: &str,
        grid: [usize; N],
        threads: u32,
        order: Order,
        arguments: &[Argument<'_>],
    ) -> Vec<Vec<u8>> {
        let grid = [0, 1, 2].map(|n| grid.get(n).map_or(1, |size| *size as u32));
        let launch = Launch { kernel, grid, block: [threads, 1, 1], shared: 0, order };
        self.launch(&launch, arguments).unwrap_or_else(|e| panic!("{kernel}, {order:?}: {e}"))
    }

    /// The buffers after the launch, or what was wrong.
    pub(crate) fn launch(&self, launch: &Launch<'_>, arguments: &[Argument<'_>]) -> Result<Vec<Vec<u8>>, String> {
        let request = request(launch, arguments);
        // Where the system spreads addresses widely, ThreadSanitizer finds its own taken more often than not.
        const TRIES: usize = 300;
        for _ in 1..TRIES {
            match self.ask(&request, arguments) {
                Err(told) if told.contains("unexpected memory mapping") => {}
                other => return other,
            }
        }
        self.ask(&request, arguments)
    }

    fn ask(&self, request: &[u8], arguments: &[Argument<'_>]) -> Result<Vec<Vec<u8>>, String> {
        let mut running = self.running.take().unwrap_or_else(|| Running::start(&self.program));
        match running.answer(request, arguments) {
            Ok(buffers) => {
                self.running.replace(Some(running));
                Ok(buffers)
            }
            Err(_) => {
                let status = running.child.wait().unwrap();
                Err(format!("{status}: {}", running.said.join().unwrap()))
            }
        }
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            drop(running.child.stdin.take());
            running.child.wait().unwrap();
        }
    }
}

impl Running {
    fn start(program: &Path) -> Running {
        let mut child = Command::new(program)
            .env("TSAN_OPTIONS", "halt_on_error=1:report_signal_unsafe=0")
            .env("ASAN_OPTIONS", "detect_leaks=0:detect_stack_use_after_return=0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut err = child.stderr.take().unwrap();
        let said = std::thread::spawn(move || {
            let mut text = String::new();
            err.read_to_string(&mut text).unwrap();
            text
        });
        Running { child, said }
    }

    /// It reads all of a request before it answers, and ends when something is wrong.
    fn answer(&mut self, request: &[u8], arguments: &[Argument<'_>]) -> std::io::Result<Vec<Vec<u8>>> {
        let (Some(to), Some(from)) = (&mut self.child.stdin, &mut self.child.stdout) else {
            unreachable!("both piped")
        };
        to.write_all(request)?;
        to.flush()?;
        let buffers = arguments.iter().filter_map(|argument| match argument {
            Argument::Buffer(contents) => Some(contents.len()),
            Argument::Value(_) => None,
        });
        let mut read = |length| {
            let mut bytes = vec![0; length];
            from.read_exact(&mut bytes).map(|()| bytes)
        };
        let buffers = buffers.map(&mut read).collect::<Result<_, _>>()?;
        from.read_exact(&mut [0])?;
        Ok(buffers)
    }
}

fn request(launch: &Launch<'_>, arguments: &[Argument<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut number = |value: u32, text: &[u8]| {
        bytes.extend(value.to_le_bytes());
        bytes.extend(text);
    };
    number(launch.kernel.len() as u32, launch.kernel.as_bytes());
    launch.grid.iter().chain(&launch.block).for_each(|size| number(*size, &[]));
    number(launch.shared, &[]);
    let (order, seed) = match launch.order {
        Order::Forward => (0, 0),
        Order::Reverse => (1, 0),
        Order::Random(seed) => (2, seed),
    };
    number(order, &[]);
    number(seed, &[]);
    number(arguments.len() as u32, &[]);
    for argument in arguments {
        let (kind, contents) = match argument {
            Argument::Value(contents) => (0, contents),
            Argument::Buffer(contents) => (1, contents),
        };
        number(kind, &[&(contents.len() as u64).to_le_bytes(), *contents].concat());
    }
    bytes
}
