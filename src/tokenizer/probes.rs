//! Texts that tell tokenizers apart.

use super::Encoder;
use crate::Result;

/// Texts on which two tokenizers that are not the same are likely to differ. All are in composed form (NFC), since
/// loaders of GGUF do not compose text. Special tokens depend on the vocabulary: see [`Encoder::special_tokens`].
pub const PROBES: &[&str] = &[
    "",
    " ",
    "  ",
    "   ",
    "\n",
    "\n\n",
    "\r\n\r\n",
    "\t\t\tx",
    "a  b   c    d     e        f                 g",
    " \n  \n \t\n\n\n  end of blanks \t ",
    "line one\nline two\r\nline three\n\n\n    indented\n\ttabbed \n",
    "trailing space ",
    " leading space",
    "\u{a0}no\u{2003}break\u{3000}spaces\u{200b}zero\u{2028}line",
    "Hello, World! The quick brown fox jumps over the lazy dog.",
    "0 1 12 123 1234 12345 123456 1234567 12345678 123456789 1234567890",
    "3.14159 1,000,000.00 -273.15 6.022e23 0x1F 1/2 50% $99.99 №7 2024-01-31T23:59:59Z",
    "²³¹ ½¼¾ ٠١٢٣٤٥ १२३४ 一二三四 ⅣⅫ ①②③",
    "I'm you're he's we've they'd she'll don't can't I'M YOU'RE HE'S WE'VE THEY'D SHE'LL DON'T it’s l'été 'tis 'quoted'",
    "UPPERCASE lowercase CamelCase mixedCASE snake_case kebab-case SCREAMING_SNAKE iPhone McDonald eBay XMLHttpRequest",
    "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis Donaudampfschifffahrtsgesellschaft",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "!!! ??? ... --- *** ### === ~~~ \"\"\" ''' ``` ((())) [[]] {{}} <<>> ?! :-) ;-) <3 -> => != == && || ++ -- // /* */",
    "https://user:pass@www.example.com:8080/a/b/c.html?q=1&r=%20#frag mailto:someone@example.org C:\\dir\\file.txt",
    "def f(x: int) -> str:\n    \"\"\"Doc.\"\"\"\n    return f\"{x!r:>10}\" if x != 0 else None  # comment\n",
    "fn main() {\n\tlet v: Vec<u8> = (0..=255).collect();\n\tprintln!(\"{:?}\", &v[..4]);\n}\n",
    "{\"key\": [1, 2.5, null, true], \"nested\": {\"a\\n\": \"\\u00e9\"}}",
    "<html><body class=\"x\">&nbsp;&#39;</body></html>",
    "$\\int_0^\\infty e^{-x^2}\\,dx = \\frac{\\sqrt{\\pi}}{2}$",
    "Größe façade naïve El Niño São Paulo Übermut Ærøskøbing Łódź İstanbul ŞIŞLI smørrebrød",
    "Быстрая коричневая лиса перепрыгивает через ленивую собаку, №5. ЁЖ ёж Її Ђ",
    "Η γρήγορη αλεπού πηδάει πάνω από το σκυλί. ΑΒΓ ς",
    "敏捷的棕色狐狸跳过了懒狗。数字123和ABC混排，标点「测试」！",
    "素早い茶色の狐がのろまな犬を飛び越える。カタカナ ﾊﾝｶｸ ー々〆",
    "빠른 갈색 여우가 게으른 개를 뛰어넘는다. ㄱㄴㄷ",
    "الثعلب البني السريع يقفز فوق الكلب الكسول، ١٢٣ مَرْحَبًا",
    "השועל החום המהיר קופץ מעל הכלב העצלן שָׁלוֹם",
    "तेज भूरी लोमड़ी आलसी कुत्ते के ऊपर से कूदती है। संस्कृतम् क्षत्रिय",
    "দ্রুত বাদামী শিয়াল অলস কুকুর তামிழ் மொழி తెలుగు ಕನ್ನಡ മലയാളം ગુજરાતી ਪੰਜਾਬੀ",
    "สุนัขจิ้งจอกสีน้ำตาลกระโดดข้ามสุนัขขี้เกียจ ກ ຂ ខ្មែរ မြန်မာ",
    "ქართული Հայերեն አማርኛ ᏣᎳᎩ ᐃᓄᒃᑎᑐᑦ བོད་སྐད་ ᠮᠣᠩᠭᠣᠯ",
    "😀😃 👍🏽 👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪🇯🇵 ❤️ ☕️ 1️⃣ 🧑🏿‍🚀",
    "∀x∈ℝ: ⌈x⌉ = −⌊−x⌋, α ∧ ¬β ≡ ¬(¬α ∨ β) ← ↑ → ↓ ■ □ ▲ ★ ♠ © ® ™ § ¶ † ‡ • … – — ‘ ’ “ ” « »",
    "\u{0}\u{1}\u{7}\u{8}\u{b}\u{c}\u{1b}[31m\u{7f}\u{85}",
    "\u{feff}bom \u{200e}ltr\u{200f} \u{ad}soft \u{fffd} \u{fffe} \u{10ffff} \u{e000}",
    "𝐁𝐨𝐥𝐝 𝒮𝒸𝓇𝒾𝓅𝓉 𝔉𝔯𝔞𝔨𝔱𝔲𝔯 ＦＵＬＬＷＩＤＴＨ １２３ 𐍈𐌰𐌿 𓀀𓂀 𠜎𠜱",
    "▁ ▁▁ Ġ ĠĠ Ċ <0x0A> [PAD0] ##ing </w> Ã© �",
    "user: Hi!\nassistant: Hello 👋 — how can I help?\n\nuser: 2+2=?",
];

/// Where two encoders part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The text.
    pub text: String,
    /// The index of the first id that differs.
    pub at: usize,
    /// The ids of the first encoder.
    pub left: Vec<u32>,
    /// The ids of the second.
    pub right: Vec<u32>,
}

/// The first of `texts` on which `left` and `right` differ; `None` when they agree on all.
///
/// # Errors
/// Those of [`Encoder::encode`].
pub fn first_difference<'a>(
    left: &Encoder<'_>,
    right: &Encoder<'_>,
    texts: impl Iterator<Item = &'a str>,
) -> Result<Option<Difference>> {
    for text in texts {
        let (left, right) = (left.encode(text)?, right.encode(text)?);
        if left != right {
            let same = left.iter().zip(&right).take_while(|(a, b)| a == b).count();
            return Ok(Some(Difference { text: text.to_owned(), at: same, left, right }));
        }
    }
    Ok(None)
}
