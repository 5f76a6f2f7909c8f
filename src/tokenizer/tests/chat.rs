use std::path::Path;

use serde_json::{Value, json};

use super::{added, byte_level, read_with};
use crate::gguf::Metadata;
use crate::tokenizer::{Message, chat, last_tokens};

/// The keys of a tokenizer with this template.
fn keys(template: &str) -> Metadata {
    let mut file = byte_level(&[]);
    let tokens = [added(256, "<s>", true), added(257, "</s>", true), added(258, "<|im_end|>", true)];
    file["added_tokens"] = tokens.into_iter().collect();
    let config = json!({"bos_token": "<s>", "eos_token": "</s>", "chat_template": template});
    read_with(&file, &config, &json!({}), 259).unwrap().into_metadata()
}

fn render(template: &str, messages: &[Message<'_>]) -> Result<String, String> {
    chat(Path::new("x.gguf"), &keys(template), messages).map_err(|e| e.to_string())
}

fn fixture(name: &str) -> String {
    std::fs::read_to_string(format!("{}/fixtures/chat/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// What Jinja makes of them stands beside the templates.
#[test]
fn templates_give_what_jinja_gives() {
    for name in ["turns", "strict", "rich"] {
        let cases: Value = serde_json::from_str(&fixture(&format!("{name}.json"))).unwrap();
        for case in cases.as_array().unwrap() {
            let turns = case["messages"].as_array().unwrap().iter();
            let turn = |m: &'_ Value| (m[0].as_str().unwrap().to_owned(), m[1].as_str().unwrap().to_owned());
            let turns: Vec<(String, String)> = turns.map(turn).collect();
            let messages: Vec<_> = turns.iter().map(|(role, content)| Message { role, content }).collect();
            let found = render(&fixture(&format!("{name}.jinja")), &messages);
            match case["error"].as_str() {
                None => assert_eq!(found.as_deref(), Ok(case["text"].as_str().unwrap()), "{name}"),
                Some(wanted) => assert!(found.unwrap_err().ends_with(wanted), "{name}"),
            }
        }
    }
}

#[test]
fn the_date_is_today_s() {
    let year = render("{{ strftime_now('%Y') }}", &[]).unwrap();
    assert!(year.parse::<u32>().is_ok_and(|year| year > 2025), "{year}");
}

#[test]
fn templates_that_cannot_be_used_are_errors() {
    let fails = |template: &str, message: &str| {
        let error = render(template, &[]).unwrap_err();
        assert!(error.contains(message), "`{message}` in `{error}`");
    };
    fails("a\n{% if %}", "chat template, line 2: ");
    fails("{{ missing() }}", "missing");
    fails("{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}", "ran out of fuel");
    fails("{{ 'a' * 1000000000 }}", "ran out of fuel");
    fails("{{ raise_exception('no') }}", "no");
    fails("{% generation %}", "");
    let error = chat(Path::new("x.gguf"), &Metadata::default(), &[]).unwrap_err();
    assert_eq!(error.to_string(), "`x.gguf` has no chat template");
}

#[test]
fn texts_end_with_eos_and_tokens_of_known_names() {
    assert_eq!(last_tokens(&keys("")), [257, 258]);
    assert_eq!(last_tokens(&Metadata::default()), [0; 0]);
}
