//! The part of Go's text templates that the benchmark's files use: `{{.Index}}` and functions of numbers.

/// Fills in a template for the object of that index, of so many.
///
/// # Errors
/// Something between braces isn't understood; it is named with its line.
pub(super) fn fill(template: &str, index: usize, count: usize) -> Result<String, String> {
    if !template.contains("{{") {
        return Ok(template.to_owned());
    }
    let (mut filled, mut rest) = (String::with_capacity(template.len()), template);
    while let Some(start) = rest.find("{{") {
        let line = template.len() - rest.len() + start;
        let line = template[..line].lines().count().max(1);
        let end = rest[start..].find("}}").ok_or_else(|| format!("line {line}: {{{{ without }}}}"))?;
        let inside = rest[start + 2..start + end].trim();
        filled.push_str(&rest[..start]);
        let value = evaluate(inside, index, count);
        filled.push_str(&value.ok_or_else(|| format!("line {line}: template {inside:?} is not understood"))?);
        rest = &rest[start + end + 2..];
    }
    filled.push_str(rest);
    Ok(filled)
}

fn evaluate(inside: &str, index: usize, count: usize) -> Option<String> {
    #[allow(clippy::cast_precision_loss, reason = "indices are far below 2^53")]
    let number = |word: &str| match word {
        ".Index" => Some(index as f64),
        ".Count" => Some(count as f64),
        literal => literal.trim_matches('"').parse::<f64>().ok(),
    };
    let mut words = inside.split_whitespace();
    let name = words.next()?;
    let arguments: Vec<f64> = words.map(number).collect::<Option<_>>()?;
    let value = match (name, &arguments[..]) {
        (_, []) => number(name)?,
        ("AddInt" | "AddFloat", all) => all.iter().sum(),
        ("MultiplyInt" | "MultiplyFloat", all) => all.iter().product(),
        ("SubtractInt" | "SubtractFloat", [a, b]) => a - b,
        ("DivideInt" | "DivideFloat", [a, b]) if *b != 0.0 => a / b,
        ("Mod", [a, b]) if b.trunc() != 0.0 => a.trunc() % b.trunc(),
        _ => return None,
    };
    let whole = name == "Mod" || name.ends_with("Int");
    Some(if whole { value.trunc().to_string() } else { value.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_filled_in() {
        let cases = [
            ("name: a-{{.Index}}", "name: a-7"),
            ("{{ .Index }}/{{.Count}}", "7/20"),
            ("gpu-{{Mod .Index 5}}: 1", "gpu-2: 1"),
            ("claim-{{DivideInt .Index 5}}", "claim-1"),
            ("{{AddInt .Index 1 2}} {{SubtractInt .Count .Index}} {{MultiplyInt .Index 2}}", "10 13 14"),
            ("{{DivideFloat .Index 2}}", "3.5"),
            ("none", "none"),
        ];
        for (template, expected) in cases {
            assert_eq!(fill(template, 7, 20).unwrap(), expected);
        }
        assert_eq!(
            fill("a\nb: {{Shout .Index}}", 0, 1).unwrap_err(),
            r#"line 2: template "Shout .Index" is not understood"#
        );
        assert_eq!(fill("{{Mod 1 0}}", 0, 1).unwrap_err(), r#"line 1: template "Mod 1 0" is not understood"#);
        assert_eq!(fill("x {{", 0, 1).unwrap_err(), "line 1: {{ without }}");
    }
}
