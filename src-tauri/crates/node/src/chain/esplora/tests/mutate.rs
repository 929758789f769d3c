//! Spoiling an answer: a little, much, or into the answer to something else.

use serde_json::{Value, json};

use super::tape::{Answer, Tape};

/// Random numbers from a seed (SplitMix64).
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll() % u64::try_from(end).unwrap()).unwrap()
    }

    pub fn one<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// Spoils the answer to a question.
pub fn spoil(dice: &mut Dice, tape: &Tape, path: &str, (status, body): Answer) -> Answer {
    match dice.below(20) {
        0 => (
            *dice.one(&[204, 206, 301, 400, 404, 404, 404, 429, 500, 503]),
            body,
        ),
        1 => (200, of_another(dice, tape, |_| true)),
        2..=5 => {
            let kind = kind(path);
            let other = of_another(dice, tape, |path| self::kind(path) == kind);
            (status, other)
        }
        6..=11 => (status, bytes(dice, body)),
        _ => match serde_json::from_slice::<Value>(&body) {
            Ok(mut value) => {
                for _ in 0..=dice.below(3) {
                    node(dice, tape, &mut value);
                }
                (status, value.to_string().into_bytes())
            }
            Err(_) => (status, text(dice, body)),
        },
    }
}

/// The path without what is in it.
fn kind(path: &str) -> String {
    let segments = path.split('/').map(|segment| {
        let given = segment.len() > 20 || segment.parse::<u32>().is_ok();
        if given { "*" } else { segment }
    });
    segments.collect::<Vec<_>>().join("/")
}

fn of_another(dice: &mut Dice, tape: &Tape, like: impl Fn(&str) -> bool) -> Vec<u8> {
    let (start, count) = (dice.below(tape.answers.len()), tape.answers.len());
    let all = tape.answers.iter().cycle().skip(start).take(count);
    let mut like = all.filter(|(path, _)| like(path));
    like.next().map(|(_, (_, body))| body.clone()).unwrap_or_default()
}

/// Bytes changed, taken away, put in or repeated.
fn bytes(dice: &mut Dice, mut body: Vec<u8>) -> Vec<u8> {
    if body.is_empty() {
        return vec![b'0'];
    }
    let (from, to) = (dice.below(body.len()), dice.below(body.len()));
    let (from, to) = (from.min(to), from.max(to));
    match dice.below(8) {
        0..=2 => body[from] ^= 1 << dice.below(8),
        3 => body[from] = dice.roll().to_le_bytes()[0],
        4 => body.truncate(from),
        5 => drop(body.drain(from..to.min(from + 64))),
        6 => {
            let piece = body[from..to.min(from + 64)].to_vec();
            body.splice(from..from, piece);
        }
        _ => body.extend(dice.roll().to_le_bytes()),
    }
    body
}

/// One digit of a text, so that it may be read all the same; of bytes, one of them.
fn text(dice: &mut Dice, mut body: Vec<u8>) -> Vec<u8> {
    let digits: Vec<usize> = (0..body.len())
        .filter(|at| body[*at].is_ascii_hexdigit())
        .collect();
    if std::str::from_utf8(&body).is_err() || digits.is_empty() {
        return bytes(dice, body);
    }
    let at = *dice.one(&digits);
    body[at] = *dice.one(b"0123456789abcdef");
    body
}

/// Something somewhere in a JSON value.
fn node(dice: &mut Dice, tape: &Tape, value: &mut Value) {
    // Down to a leaf most times, or to a branch on the way.
    match value {
        Value::Array(items) if !items.is_empty() && dice.below(8) > 0 => {
            let at = dice.below(items.len());
            return node(dice, tape, &mut items[at]);
        }
        Value::Object(fields) if !fields.is_empty() && dice.below(8) > 0 => {
            let at = dice.below(fields.len());
            if let Some(field) = fields.values_mut().nth(at) {
                return node(dice, tape, field);
            }
        }
        _ => {}
    }
    match value {
        Value::Array(items) => array(dice, items),
        Value::Object(fields) => {
            let at = dice.below(fields.len().max(1));
            if let Some(name) = fields.keys().nth(at).cloned() {
                fields.remove(&name);
            }
        }
        Value::Bool(yes) => *value = json!(!*yes),
        Value::Null => *value = dice.one(&[json!(0), json!(true), json!("")]).clone(),
        Value::Number(number) => {
            let number = number.as_i64().unwrap_or(7);
            let near = [1, -1, 2, -7, 100, -100].map(|by| json!(number.wrapping_add(by)));
            let far = [
                json!(0),
                json!(-1),
                json!(u32::MAX),
                json!(u64::MAX),
                json!(1e308),
                json!("1"),
                Value::Null,
            ];
            *value = if dice.below(2) == 0 {
                dice.one(&near).clone()
            } else {
                dice.one(&far).clone()
            };
        }
        Value::String(words) => {
            let spoilt = match dice.below(4) {
                0 => String::new(),
                1 => {
                    let at = dice.below(tape.headers.len());
                    tape.headers[at].block_hash().to_string()
                }
                2 => {
                    let txids: Vec<_> = tape.places.keys().collect();
                    dice.one(&txids).to_string()
                }
                _ => String::from_utf8_lossy(&text(dice, words.clone().into_bytes())).into_owned(),
            };
            *words = spoilt;
        }
    }
}

fn array(dice: &mut Dice, items: &mut Vec<Value>) {
    if items.is_empty() {
        items.push(Value::Null);
        return;
    }
    let (one, two) = (dice.below(items.len()), dice.below(items.len()));
    match dice.below(6) {
        0 => items.swap(one, two),
        1 => drop(items.remove(one)),
        2 => items.insert(one, items[two].clone()),
        3 => items.reverse(),
        4 => items.clear(),
        _ => items.truncate(one),
    }
}
