//! The JSON paths of printer columns, scale and selectable fields: `.spec.replicas`, `.items[0].name`,
//! `.status.conditions[?(@.type=="Ready")].status`, `.metadata.labels['a.b/c']`, `.spec.hosts[*]`.

use serde_json::Value;

/// So many filters may be within one another: they are read, run and dropped by recursion.
const FILTERS_MAX: usize = 16;

/// A path.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct JsonPath(Vec<Step>);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    Index(i64),
    Every,
    /// Elements whose value at a path compares so with another; without one, those where it is there.
    Where(JsonPath, Option<(bool, Value)>),
}

impl JsonPath {
    /// Reads a path.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        Self::parse_within(text, 0)
    }

    /// Reads a path that is so many filters deep.
    fn parse_within(text: &str, filters: usize) -> Result<Self, String> {
        if filters > FILTERS_MAX {
            return Err(format!("filters may be {FILTERS_MAX} deep within one another"));
        }
        let text = text.trim();
        let text = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text);
        let mut rest = text.strip_prefix('$').unwrap_or(text);
        let mut steps = Vec::new();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('[') {
                let end = closing(after).ok_or_else(|| format!("unterminated array in {text:?}"))?;
                steps.push(bracketed(&after[..end], filters)?);
                rest = &after[end + 1..];
            } else {
                let after = rest.strip_prefix('.').unwrap_or(rest);
                let (name, remaining) = take_name(after);
                match name.as_str() {
                    "" if remaining.is_empty() || remaining.starts_with('[') => {}
                    "" => return Err(format!("unrecognized character in {text:?}")),
                    "*" => steps.push(Step::Every),
                    _ => steps.push(Step::Field(name)),
                }
                rest = remaining;
            }
        }
        Ok(Self(steps))
    }

    /// Every value at the path.
    pub(crate) fn find<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        let mut found = vec![value];
        for step in &self.0 {
            found = found.into_iter().flat_map(|value| step.take(value)).collect();
        }
        found
    }

    /// The first value at the path.
    pub(crate) fn first<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        self.find(value).into_iter().next()
    }

    /// Sets the value at a path of fields alone, making objects on the way.
    pub(crate) fn set(&self, object: &mut Value, new: Value) {
        let mut place = object;
        for step in &self.0 {
            let Step::Field(name) = step else { return };
            if !place.is_object() {
                *place = Value::Object(serde_json::Map::new());
            }
            place = &mut place[name.as_str()];
        }
        *place = new;
    }

    /// The fields of the path, if it has nothing else.
    pub(crate) fn fields(&self) -> Option<Vec<&str>> {
        self.0.iter().all(|step| matches!(step, Step::Field(_))).then(|| {
            self.0
                .iter()
                .filter_map(|step| match step {
                    Step::Field(name) => Some(name.as_str()),
                    _ => None,
                })
                .collect()
        })
    }
}

/// Where the bracket closes, not counting those in quotes.
fn closing(text: &str) -> Option<usize> {
    let (mut quote, mut depth) = (None, 0);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') if depth == 0 => return Some(at),
            (None, ']') => depth -= 1,
            _ => {}
        }
    }
    None
}

fn take_name(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '.' | '[' => return (name, &text[at..]),
            '\\' => name.extend(chars.next().map(|(_, c)| c)),
            c => name.push(c),
        }
    }
    (name, "")
}

fn unquote(text: &str) -> Option<&str> {
    let quoted = |quote: char| text.strip_prefix(quote).and_then(|text| text.strip_suffix(quote));
    quoted('\'').or_else(|| quoted('"'))
}

fn bracketed(inner: &str, filters: usize) -> Result<Step, String> {
    let inner = inner.trim();
    if inner == "*" {
        return Ok(Step::Every);
    }
    if let Some(name) = unquote(inner) {
        return Ok(Step::Field(name.to_owned()));
    }
    if let Some(filter) = inner.strip_prefix("?(").and_then(|filter| filter.strip_suffix(')')) {
        let split = ["==", "!="].into_iter().find_map(|operator| Some((operator, filter.split_once(operator)?)));
        let path = |text: &str| JsonPath::parse_within(text.trim().trim_start_matches('@'), filters + 1);
        return match split {
            Some((operator, (left, right))) => {
                let right = right.trim();
                let value = match unquote(right) {
                    Some(text) => text.into(),
                    None => serde_json::from_str(right).map_err(|_| format!("unrecognized literal {right:?}"))?,
                };
                Ok(Step::Where(path(left)?, Some((operator == "==", value))))
            }
            None => Ok(Step::Where(path(filter)?, None)),
        };
    }
    inner.parse().map(Step::Index).map_err(|_| format!("invalid array index {inner}"))
}

impl Step {
    fn take<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        match (self, value) {
            (Self::Field(name), Value::Object(fields)) => fields.get(name).into_iter().collect(),
            (Self::Index(at), Value::Array(list)) => {
                let place = if *at < 0 { i64::try_from(list.len()).unwrap_or(i64::MAX) + at } else { *at };
                usize::try_from(place).ok().and_then(|at| list.get(at)).into_iter().collect()
            }
            (Self::Every, Value::Array(list)) => list.iter().collect(),
            (Self::Every, Value::Object(fields)) => fields.values().collect(),
            (Self::Where(path, test), Value::Array(list)) => list
                .iter()
                .filter(|element| match (path.first(element), test) {
                    (found, None) => found.is_some(),
                    (Some(found), Some((equal, wanted))) => (found == wanted) == *equal,
                    (None, Some((equal, _))) => !equal,
                })
                .collect(),
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_find_values() {
        let object = json!({"spec": {"a": 1, "b": [{"n": "x", "v": 1}, {"n": "y", "v": 2}]}, "metadata": {"labels": {"a.b/c": "l"}}});
        for (path, expected) in [
            (".spec.a", vec![json!(1)]),
            ("{.spec.b[0].n}", vec![json!("x")]),
            (".spec.b[-1].n", vec![json!("y")]),
            (".spec.b[*].v", vec![json!(1), json!(2)]),
            (".spec.b[?(@.n==\"y\")].v", vec![json!(2)]),
            (".spec.b[?(@.n!='y')].v", vec![json!(1)]),
            (".metadata.labels['a.b/c']", vec![json!("l")]),
            (".metadata.labels.a\\.b/c", vec![json!("l")]),
            (".spec.zzz.y", vec![]),
        ] {
            let found: Vec<Value> = JsonPath::parse(path).unwrap().find(&object).into_iter().cloned().collect();
            assert_eq!(found, expected, "{path}");
        }
        assert!(JsonPath::parse(".a[").is_err());
        let nested = |depth: usize| format!(".a{}{}", "[?(@.a".repeat(depth), ")]".repeat(depth));
        assert!(JsonPath::parse(&nested(FILTERS_MAX)).is_ok());
        assert!(JsonPath::parse(&nested(100_000)).unwrap_err().contains("16 deep"));
        let mut made = json!({});
        JsonPath::parse(".spec.replicas").unwrap().set(&mut made, json!(3));
        assert_eq!(made, json!({"spec": {"replicas": 3}}));
    }
}
