//! The pre-tokenizers that llama.cpp has names for, as data.

/// What happens to the text before merging, one thing after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Every match of the pattern becomes a piece of its own, and so does what stands between matches.
    Split(&'static str),
    /// The bytes of every piece are spelled in the 256 printable characters of GPT-2.
    Bytes,
}

/// One row: a name, and the structure of tokenizer.json that it stands for.
#[derive(Debug)]
pub(super) struct Pre {
    /// The value of `tokenizer.ggml.pre`.
    pub(super) name: &'static str,
    /// Other names that split the same way. Detection never gives them: the first name says as much.
    pub(super) aliases: &'static [&'static str],
    /// A piece that is a token as a whole skips the merges.
    pub(super) ignore_merges: bool,
    /// The structure, in the spelling of the family's own tokenizer.json.
    pub(super) steps: &'static [Step],
    /// Another structure that llama.cpp's converter gives the same name.
    pub(super) also: Option<&'static [Step]>,
}

use Step::{Bytes, Split};

/// The pattern of `ByteLevel` with `use_regex`.
pub(super) const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// `Digits` with `individual_digits`.
pub(super) const DIGIT: &str = r"\p{N}";
/// `Digits` without.
pub(super) const DIGITS: &str = r"\p{N}+";
/// `Punctuation` with the behaviour `Contiguous`.
pub(super) const PUNCTUATION: &str = r"[\p{P}!-/:-@\[-`{-~]+";
/// `Punctuation` with the behaviour `Isolated`.
pub(super) const PUNCTUATION_MARK: &str = r"[\p{P}!-/:-@\[-`{-~]";

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const YOUTU: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const DEEPSEEK3: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;
// Characters that NFC would replace are written as escapes: a tool that composes text would change the pattern.
const DEEPSEEK_LETTERS: &str = "\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-\u{1f7d}ᾀ-ᾴᾶ-ᾼ\u{1fbe}ῂ-ῄῆ-ῌῐ-\u{1fd3}ῖ-\u{1fdb}ῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\u{2126}ℨ\u{212a}-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+";
const CJK_AND_HANGUL: &str = "[一-龥ࠀ-一가-퟿]+";
const HAN_AND_KANA: &str = "[一-龥぀-ゟ゠-ヿ]+";
const BLOOM: &str = " ?[^(\\s|.,!?…。，、।۔،)]+";
const BLOOM_NESTED: &str = " ?[^(\\s|[.,!?…。，、।۔،])]+";

const fn row(name: &'static str, ignore_merges: bool, steps: &'static [Step]) -> Pre {
    Pre { name, aliases: &[], ignore_merges, steps, also: None }
}

impl Pre {
    const fn known_as(self, aliases: &'static [&'static str]) -> Pre {
        Pre { aliases, ..self }
    }

    const fn or(self, also: &'static [Step]) -> Pre {
        Pre { also: Some(also), ..self }
    }
}

/// Every name with a structure. Where two structures are the same, the first row has it.
pub(super) static PRES: &[Pre] = &[
    row("gpt-2", false, &[Split(GPT2), Bytes]).known_as(&[
        "mpt",
        "olmo",
        "phi-2",
        "jais",
        "trillion",
        "granite-docling",
        "gigachat",
        "a.x-4.0",
        "mellum",
        "modern-bert",
        "exaone4",
        "jina-es",
        "jina-de",
        "jina-v2-es",
        "jina-v2-de",
        "jina-v1-en",
        "jina-v2-code",
        "roberta-bpe",
    ]),
    row("smollm", false, &[Split(DIGIT), Split(GPT2), Bytes]).known_as(&[
        "starcoder",
        "refact",
        "command-r",
        "codeshell",
        "exaone",
        "minerva-7b",
        "mellum2",
    ]),
    row("llama-bpe", true, &[Split(LLAMA3), Bytes]).known_as(&[
        "llama3",
        "llama-v3",
        "falcon3",
        "falcon-h1",
        "pixtral",
        "midm-2.0",
        "lfm2",
        "jina-v5-nano",
    ]),
    row("dbrx", false, &[Split(LLAMA3), Bytes]).known_as(&["smaug-bpe", "glm4", "chatglm-bpe"]),
    row("qwen2", false, &[Split(QWEN2), Bytes]).known_as(&[
        "stablelm2",
        "deepseek-r1-qwen",
        "kormo",
        "f2llmv2",
        "megrez",
        "hunyuan",
        "solar-open",
        "grok-2",
        "bailingmoe",
        "bailingmoe2",
        "llada-moe",
    ]),
    row("qwen35", false, &[Split(QWEN35), Bytes]),
    row("tekken", true, &[Split(TEKKEN), Bytes]),
    row("gpt-4o", false, &[Split(GPT4O), Bytes]).known_as(&["llama4", "kanana2", "talkie", "minimax-m2"]),
    row("granite-embed-multi-97m", true, &[Split(GPT4O), Bytes]),
    row("tiny_aya", false, &[Split(r"\d{1,3}(?=(?:\d{3})*\b)"), Split(GPT4O), Bytes]).known_as(&["cohere2moe"]),
    row(
        "deepseek-llm",
        false,
        &[
            Split(r"[\r\n]"),
            Split(DEEPSEEK_LETTERS),
            Split("\\s?[!-/:-~！-／：-～‘-‟　-。]+"),
            Split(r"\s+$"),
            Split(CJK_AND_HANGUL),
            Split(DIGITS),
            Bytes,
        ],
    )
    .or(&[
        Split(r"[\r\n]"),
        Split(DEEPSEEK_LETTERS),
        Split("\\s?[!-/:-~！-／：-～‘-‟　-。]+"),
        Split(r"\s+$"),
        Split(CJK_AND_HANGUL),
        Split(DIGIT),
        Bytes,
    ]),
    row(
        "deepseek-coder",
        false,
        &[Split(r"[\r\n]"), Split(r"\s?\p{L}+"), Split(r"\s?\p{P}+"), Split(CJK_AND_HANGUL), Split(DIGIT), Bytes],
    ),
    row("deepseek-v3", false, &[Split(r"\p{N}{1,3}"), Split(HAN_AND_KANA), Split(DEEPSEEK3), Bytes]).known_as(&[
        "hunyuan-dense",
        "joyai-llm",
        "hy_v4",
    ]),
    row(
        "youtu",
        true,
        &[Split("[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+"), Split(YOUTU), Bytes],
    ),
    // The family's own file splits at digits after it has spelled text in bytes, some of which look like digits then.
    // llama.cpp does not, and what it does is what the name stands for.
    row("falcon", false, &[Split(r"[\p{P}\$\+<=>\^~\|`]+"), Split(GPT2), Split("[0-9][0-9][0-9]"), Bytes]).or(&[
        Split(PUNCTUATION),
        Split(GPT2),
        Bytes,
        Split(DIGITS),
        Split("[0-9][0-9][0-9]"),
    ]),
    row("bloom", false, &[Split(BLOOM), Bytes])
        .or(&[Split(BLOOM_NESTED), Bytes])
        .known_as(&["poro-chat", "gpt3-finnish"]),
    row("viking", false, &[Split(BLOOM), Split(DIGIT), Bytes]).or(&[Split(BLOOM_NESTED), Split(DIGIT), Bytes]),
    row(
        "seed-coder",
        false,
        &[
            Split(
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+",
            ),
            Bytes,
        ],
    ),
    row(
        "exaone-moe",
        false,
        &[
            Split(
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+",
            ),
            Bytes,
        ],
    ),
    row(
        "minicpm5",
        true,
        &[
            Split(r"\p{N}{1,3}"),
            Split(
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
            ),
            Bytes,
        ],
    ),
    row(
        "jais-2",
        false,
        &[
            Split(
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}",
            ),
            Bytes,
        ],
    ),
    row(
        "ufakzeka",
        false,
        &[Split(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"), Bytes],
    ),
];

/// Names that llama.cpp loads and that have no row: what they do is more than splitting by patterns, or not byte-level.
pub(super) static WITHOUT_STRUCTURE: &[&str] = &[
    "afmoe",
    "chameleon",
    "default",
    "gemma4",
    "granite-embed-multi-311m",
    "kimi-k2",
    "laguna",
    "sarvam-moe",
    "spark2_5",
    "superbpe",
    "whitespace",
];

/// Spellings of a pattern that match the same text, each with the one that the rows use.
pub(super) static SPELLINGS: &[(&str, &str)] = &[
    ("\r", r"\r"),
    ("\n", r"\n"),
    (r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])", r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"),
    (r"'(?i:[sdmt]|ll|ve|re)", r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"),
    (r"(?i:'s|'d|'m|'t|'ll|'ve|'re)", r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"),
    (r"'(?:[sdmt]|ll|ve|re)", r"'s|'t|'re|'ve|'m|'ll|'d"),
    ("?+", "?"),
    ("++", "+"),
    (r"\p{N}{1}|", r"\p{N}|"),
    (r"\s*[\r\n]|", r"\s*[\r\n]+|"),
];
