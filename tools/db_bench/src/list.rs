//! The list of benchmarks: names, commas, and `name[X5-W1]`.

use crate::flags::Misuse;

/// One benchmark of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) name: String,
    /// Runs that are measured.
    pub(crate) repeats: u64,
    /// Runs before them.
    pub(crate) warmups: u64,
}

/// Takes a list apart. Names are not looked up.
pub(crate) fn parse(list: &str) -> Result<Vec<Item>, Misuse> {
    list.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .map(item)
        .collect()
}

fn item(text: &str) -> Result<Item, Misuse> {
    let Some((name, rest)) = text.split_once('[') else {
        return Ok(Item {
            name: text.to_string(),
            repeats: 1,
            warmups: 0,
        });
    };
    let refused = || {
        Misuse(format!(
            "benchmark {text:?}: expected name[X<runs>] or name[X<runs>-W<warm-ups>], each from 1 to 1000000"
        ))
    };
    let mut item = Item {
        name: name.to_string(),
        repeats: 1,
        warmups: 0,
    };
    for part in rest.strip_suffix(']').ok_or_else(refused)?.split('-') {
        let number = |digits: &str| {
            digits
                .parse()
                .ok()
                .filter(|n| (1..=1_000_000).contains(n))
                .ok_or_else(refused)
        };
        if let Some(digits) = part.strip_prefix(['X', 'x']) {
            item.repeats = number(digits)?;
        } else if let Some(digits) = part.strip_prefix(['W', 'w']) {
            item.warmups = number(digits)?;
        } else {
            return Err(refused());
        }
    }
    Ok(item)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_and_warmups_are_read() {
        let item = |name: &str, repeats, warmups| Item {
            name: name.into(),
            repeats,
            warmups,
        };
        assert_eq!(
            parse("fillseq,readrandom[X5-W1], ,x[W2],y[X3]").unwrap(),
            [
                item("fillseq", 1, 0),
                item("readrandom", 5, 1),
                item("x", 1, 2),
                item("y", 3, 0)
            ]
        );
    }

    #[test]
    fn malformed_repeats_are_refused() {
        for list in ["a[X5", "a[Q5]", "a[X]", "a[X0]", "a[X-W1]", "a[]", "a[X5-W1]b"] {
            assert!(parse(list).is_err(), "{list}");
        }
    }
}
