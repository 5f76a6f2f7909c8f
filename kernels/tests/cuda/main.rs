//! The kernels of `cuda/`, run by the emulator of `cuda/host`: the values of the plain code here, whatever the order of
//! threads, with no race and no access outside of a buffer.

#![allow(clippy::print_stdout)]

mod building;
#[cfg(feature = "cuda")]
mod driver;
mod emulator;
mod encoders;
mod ops;
#[cfg(feature = "cuda")]
mod products;

use building::Build;
use emulator::{Argument, Emulator, Launch, ORDERS, Order};
use tersor_kernels::{BadValue, Effort, Encoding, FORMATS, Format, Level, NonFinite};

/// Run a test with both kinds of emulator.
fn each(test: impl Fn(&Emulator, Build)) {
    for sees in [Build::Races, Build::Bounds] {
        match Emulator::new(sees) {
            Ok(emulator) => test(&emulator, sees),
            Err(why) => println!("skipped: {why}"),
        }
    }
}

/// The interpreter that has NVRTC; without it, what is skipped is said.
fn python(skipped: &str) -> Option<String> {
    let python = std::env::var("TERSOR_PYTHON").ok();
    if python.is_none() {
        let packages = "the packages of tests/interop/requirements.txt";
        println!("skipped: {skipped}; set TERSOR_PYTHON to an interpreter with {packages}");
    }
    python
}

/// The same noise every time.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }

    /// Between -1 and 1.
    fn number(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// Bits, with one NaN for all.
fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| if v.is_nan() { f32::NAN.to_bits() } else { v.to_bits() }).collect()
}

fn dequantized(emulator: &Emulator, format: &Format, blocks: &[u8], order: Order) -> Vec<f32> {
    const PER_BLOCK: usize = 1024;
    let count = blocks.len() / format.bytes * format.block;
    let kernel = format!("dequantize_{}", format.name);
    let (number, room) = ((count as u64).to_le_bytes(), vec![0xcd; 4 * count]);
    let arguments = [Argument::Buffer(blocks), Argument::Buffer(&room), Argument::Value(&number)];
    let answer = emulator.run(&kernel, [count.div_ceil(PER_BLOCK), 1], order, &arguments);
    assert!(answer[0] == blocks, "{kernel} wrote to its input");
    floats(&answer[1])
}

/// Every format that is read, with every byte that a block may have.
#[test]
fn values_are_those_of_the_cpu() {
    each(|emulator, _| {
        let mut noise = Noise(7);
        for format in FORMATS {
            let Some(decode) = format.decoder() else { continue };
            for (count, order) in [1, 33, 5 * 1024 / format.block + 1].into_iter().zip(ORDERS) {
                let blocks = noise.bytes(count * format.bytes);
                let mut wanted = vec![0.0; count * format.block];
                decode(Level::SCALAR, &blocks, &mut wanted);
                let found = dequantized(emulator, format, &blocks, order);
                assert!(bits(&found) == bits(&wanted), "{}: {count} blocks, {order:?}", format.name);
            }
        }
    });
}

fn encoded_q8_0(emulator: &Emulator, values: &[f32], order: Order) -> (Vec<u8>, Vec<u8>) {
    let blocks = values.len() / 32;
    let (values, out, bad) = (bytes(values), vec![0xcd; blocks * 34], vec![0xcd; blocks]);
    let count = (blocks as u64).to_le_bytes();
    let arguments =
        [Argument::Buffer(&values), Argument::Buffer(&out), Argument::Buffer(&bad), Argument::Value(&count)];
    let mut answer = emulator.run("encode_q8_0", [blocks.div_ceil(8), 1], order, &arguments);
    (answer.remove(1), answer.remove(1))
}

/// Ordinary weights, zeros, steps that fall between codes, very small and very large numbers.
#[test]
fn q8_0_has_the_bytes_of_the_cpu() {
    let encode = Format::by_name("q8_0").unwrap().encoder().unwrap();
    each(|emulator, _| {
        let mut noise = Noise(3);
        for (n, order) in ORDERS.into_iter().enumerate() {
            let blocks = [1, 8, 29, 64][n];
            let scale = |block: usize| [0.02, 0.0, 1e-9, 8e6, 1e-42, 127.0][block % 6];
            let number = |n: usize| (noise.number() * 256.0).round() / 256.0 * scale(n / 32);
            let values: Vec<f32> = (0..blocks * 32).map(number).collect();
            let how = Encoding { effort: Effort::Fast, ..Encoding::default() };
            let mut wanted = vec![0; blocks * 34];
            encode(Level::SCALAR, &values, &how, &mut wanted).unwrap();
            let (found, bad) = encoded_q8_0(emulator, &values, order);
            assert!(found == wanted, "{blocks} blocks, {order:?}");
            assert!(bad.iter().all(|bad| *bad == 0));
        }
    });
}

#[test]
fn values_that_q8_0_cannot_hold_are_told() {
    let encode = Format::by_name("q8_0").unwrap().encoder().unwrap();
    each(|emulator, _| {
        let mut values = vec![0.5f32; 32 * 5];
        (values[40], values[70], values[130]) = (f32::NAN, f32::NEG_INFINITY, 1e30);
        let (_, bad) = encoded_q8_0(emulator, &values, Order::Forward);
        assert_eq!(bad, [0, 1, 1, 0, 2]);
        for (block, bad) in bad.iter().enumerate() {
            let how = Encoding { non_finite: NonFinite::Refuse, ..Encoding::default() };
            let told = encode(Level::SCALAR, &values[32 * block..][..32], &how, &mut [0; 34]);
            let kind = match told {
                Ok(_) => 0,
                Err(BadValue::NonFinite { .. }) => 1,
                Err(BadValue::Overflow { .. }) => 2,
            };
            assert_eq!(kind, *bad);
        }
    });
}

/// What the emulator is there for, it finds.
#[test]
fn mistakes_are_found() {
    each(|emulator, sees| {
        let room = vec![0; 4 * 128];
        let run = |kernel: &str, order: Order| {
            let launch = Launch { kernel, grid: [2, 1, 1], block: [64, 1, 1], shared: 256, order };
            let one = Launch { grid: [1, 1, 1], ..launch };
            let (launch, room) = if kernel == "sound" { (launch, &room[..]) } else { (one, &room[..256]) };
            emulator.launch(&launch, &[Argument::Buffer(room)])
        };
        let refused = |kernel: &str, order: Order, why: &str| {
            let told = run(kernel, order).err().unwrap_or_else(|| panic!("{kernel}, {order:?}, {sees:?} passes"));
            assert!(told.contains(why), "{kernel}: {told}");
        };
        for order in ORDERS {
            refused("broken_barrier", order, "threads ended that others wait for at");
            refused("broken_shuffle", order, "threads ended that others wait for at");
            let words = |bytes: &[u8]| -> Vec<u32> {
                bytes.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect()
            };
            let sound = words(&run("sound", order).unwrap()[0]);
            let value = |n: u32| 63 - (n + 1) % 64;
            let wanted: Vec<u32> = (0..128).map(|n| value(n % 64) + value((n ^ 1) % 64)).collect();
            assert_eq!(sound, wanted, "{order:?}");
            if sees == Build::Races {
                refused("broken_race", order, "data race");
            } else {
                refused("broken_bounds", order, "heap-buffer-overflow");
            }
            let unwritten = words(&run("broken_unwritten", order).unwrap()[0]);
            assert_eq!((unwritten[0], unwritten[1]), (1, 0xcdcd_cdcd), "{order:?}");
        }
        let launch = Launch { kernel: "nothing", grid: [1; 3], block: [1; 3], shared: 0, order: Order::Forward };
        assert!(emulator.launch(&launch, &[]).unwrap_err().contains("there is no kernel"));
    });
}

/// The PTX is that of the sources, and no kernel needs more registers than its source allows, or spills, on any
/// architecture.
#[test]
fn ptx_is_up_to_date_and_within_bounds() {
    let Some(python) = python("PTX") else { return };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/cuda/ptx.py");
    let done = std::process::Command::new(python).args([script, "check"]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    print!("{}", String::from_utf8_lossy(&done.stdout));
}
