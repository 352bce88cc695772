//! The little language of extra-spec requirements: an operator and its operands, or a plain text.
//!
//! ```text
//! = (at least, as numbers)  == != >= <=    numbers
//! s== s!= s< s<= s> s>=                    texts
//! <in> TEXT    <all-in> TEXT TEXT …        the value contains it, all of them
//! <or> TEXT <or> TEXT …                    the value is one of them
//! ```

pub(super) fn matches(value: &str, requirement: &str) -> bool {
    let mut words = requirement.split_whitespace();
    let operator = words.next().unwrap_or_default();
    let operand = requirement.trim_start().strip_prefix(operator).unwrap_or_default().trim();
    let numbers = || Some((number(value)?, number(operand)?));
    let compare = |holds: fn(f64, f64) -> bool| numbers().is_some_and(|(a, b)| holds(a, b));
    match operator {
        "=" | ">=" => compare(|a, b| a >= b),
        "==" => compare(|a, b| a == b),
        "!=" => compare(|a, b| a != b),
        "<=" => compare(|a, b| a <= b),
        "s==" => value == operand,
        "s!=" => value != operand,
        "s<" => value < operand,
        "s<=" => value <= operand,
        "s>" => value > operand,
        "s>=" => value >= operand,
        "<in>" => !operand.is_empty() && value.contains(operand),
        "<all-in>" => !operand.is_empty() && words.all(|word| value.contains(word)),
        "<or>" => operand.split("<or>").any(|one| one.trim() == value),
        _ => value == requirement,
    }
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operator_holds_and_fails() {
        for (requirement, holds, fails) in [
            ("= 5", "6", "4"),
            ("== 5", "5.0", "6"),
            ("!= 5", "6", "5"),
            (">= 5", "5", "4.9"),
            ("<= 5", "5", "5.1"),
            ("s== abc", "abc", "abd"),
            ("s!= abc", "abd", "abc"),
            ("s< b", "a", "b"),
            ("s<= b", "b", "c"),
            ("s> b", "c", "b"),
            ("s>= b", "b", "a"),
            ("<in> bc", "abcd", "acbd"),
            ("<all-in> aes sse", "sse,aes", "aes"),
            ("<or> x y <or> z", "x y", "x"),
            ("plain text", "plain text", "plain"),
        ] {
            assert!(matches(holds, requirement), "{holds:?} {requirement:?}");
            assert!(!matches(fails, requirement), "{fails:?} {requirement:?}");
        }
    }

    #[test]
    fn what_is_no_number_is_never_more_or_less() {
        for requirement in ["= five", ">= 5", "== 5", "!= 5", "<= 5"] {
            assert!(!matches("five", requirement), "{requirement}");
        }
    }

    #[test]
    fn an_operator_without_an_operand_matches_nothing() {
        for requirement in ["=", "<in>", "<all-in>", "<or>"] {
            assert!(!matches("5", requirement), "{requirement}");
        }
    }
}
