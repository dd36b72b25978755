//! Selectors as texts and as objects, and what they match.

use proptest::prelude::*;

use super::*;

#[test]
fn canonical_forms() {
    for (input, canonical) in [
        ("", ""),
        ("a=b", "a=b"),
        ("b == c , a", "a,b=c"),
        ("a!=b", "a!=b"),
        ("a in (y, x)", "a in (x,y)"),
        ("a in (x)", "a=x"),
        ("a notin (x,y),!b", "a notin (x,y),!b"),
        ("a in (,x)", "a in (,x)"),
        ("a=", "a="),
        ("a>1,b<2", "a>1,b<2"),
        ("example.com/in in (in)", "example.com/in=in"),
    ] {
        assert_eq!(LabelSelector::parse(input).unwrap().to_string(), canonical, "for {input:?}");
    }
}

#[test]
fn refusals_are_upstreams() {
    for (input, message) in [
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a=b,", "found '', expected: identifier after ','"),
        ("=b", "found '=', expected: !, identifier, or 'end of string'"),
        ("a in x", "unable to parse requirement: found 'x' expected: '('"),
        ("a=b c", "found 'c', expected: ',' or 'end of string'"),
    ] {
        assert_eq!(LabelSelector::parse(input).unwrap_err().message, message);
    }
    assert!(LabelSelector::parse("a=b/c").unwrap_err().message.contains("a valid label must be an empty string"));
}

#[test]
fn matching() {
    let labels = [("app", "web"), ("n", "5")];
    for (selector, expected) in [
        ("app", true),
        ("!app", false),
        ("app in (web,db)", true),
        ("app notin (web)", false),
        ("missing notin (x)", true),
        ("missing!=x", true),
        ("n>4,n<6", true),
        ("n>5", false),
    ] {
        assert_eq!(LabelSelector::parse(selector).unwrap().matches(&labels), expected, "{selector}");
    }
    assert!(!LabelSelector::nothing().matches(&labels));
    assert!(LabelSelector::everything().matches(&labels));
}

#[test]
fn objects_and_strings_agree() {
    let json = r#"{"matchLabels":{"a":"b"},"matchExpressions":[{"key":"c","operator":"Exists"}]}"#;
    let selector: LabelSelector = serde_json::from_str(json).unwrap();
    assert_eq!(selector.to_string(), "a=b,c");
    assert_eq!(serde_json::to_string(&selector).unwrap(), json);
    assert!(!serde_json::from_str::<LabelSelector>("null").unwrap().matches(&[("a", "b")]));
}

proptest! {
    #[test]
    fn parsing_never_panics_and_is_stable(text in "[ab/.!=<>(), innot]{0,40}") {
        if let Ok(selector) = LabelSelector::parse(&text) {
            let again = LabelSelector::parse(&selector.to_string()).unwrap();
            prop_assert_eq!(again.to_string(), selector.to_string());
        }
    }
}
