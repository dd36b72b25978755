//! Texts and the numbers that they are.

use proptest::prelude::*;

use super::*;

#[track_caller]
fn check(input: &str, canonical: &str) {
    assert_eq!(input.parse::<Quantity>().unwrap().to_string(), canonical, "canonical form of {input}");
}

#[test]
fn canonical_forms_are_upstreams() {
    for (input, canonical) in [
        ("0", "0"),
        ("0Ki", "0"),
        ("1000m", "1"),
        ("0.5", "500m"),
        ("1.5Gi", "1536Mi"),
        ("1024", "1024"),
        ("1024Ki", "1Mi"),
        ("512Ki", "512Ki"),
        ("100Ki", "100Ki"),
        ("1000Ki", "1000Ki"),
        ("0.5Ki", "512"),
        ("1000", "1k"),
        ("1e3", "1e3"),
        ("1.1e3", "1100"),
        ("100e3", "100e3"),
        ("1E", "1E"),
        ("12E-2", "120e-3"),
        ("-2.5", "-2500m"),
        ("+1.2", "1200m"),
        ("0.1n", "1n"),
        ("3.01n", "4n"),
        (".001", "1m"),
        ("5.", "5"),
        ("1Ei", "1Ei"),
        ("9223372036854775807", "9223372036854775807"),
        ("99999999999999999999", "9223372036854775807"),
        ("100E", "9223372036854775807"),
    ] {
        check(input, canonical);
    }
}

#[test]
fn malformed_texts_are_refused() {
    for bad in ["", "-", ".", "1.2.3", "a", "1x", "1KiB", "1e", "1 Gi", "0x10", "1mm"] {
        assert!(bad.parse::<Quantity>().is_err(), "{bad:?} was taken");
    }
}

#[test]
fn values_round_up() {
    let q: Quantity = "1500m".parse().unwrap();
    assert_eq!((q.value(), q.millis()), (2, 1500));
    let q: Quantity = "0.1m".parse().unwrap();
    assert_eq!((q.value(), q.millis()), (1, 1));
    let q: Quantity = "1Ki".parse().unwrap();
    assert_eq!((q.value(), q.millis()), (1024, 1_024_000));
}

proptest! {
    #[test]
    fn printing_and_parsing_agree(value in any::<i64>(), millis in 0_i64..1000) {
        for format in [Format::DecimalSi, Format::BinarySi, Format::DecimalExponent] {
            let q = Quantity::new(value / 1024, format);
            prop_assert_eq!(q.to_string().parse::<Quantity>().unwrap(), q);
        }
        let q = Quantity::from_millis(value / 1_000_000) + Quantity::from_millis(millis);
        prop_assert_eq!(q.to_string().parse::<Quantity>().unwrap(), q);
    }

    #[test]
    fn parsing_never_panics(text in "[-+]?[0-9.]{0,60}[a-zA-Z]{0,3}[-+]?[0-9]{0,12}") {
        let _ = text.parse::<Quantity>();
    }
}
