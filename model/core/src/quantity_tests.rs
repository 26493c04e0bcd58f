//! What quantities keep, canonicalise, refuse and add up to, as upstream does.

use crate::quantity::{Quantity, QuantityError, QuantityFormat};

fn q(text: &str) -> Quantity {
    Quantity::parse(text).unwrap()
}

#[test]
fn keeps_what_looks_canonical() {
    for text in [
        "1",
        "+1",
        "-1",
        "123.456",
        "100m",
        "1Gi",
        "3Ki",
        "12e6",
        "1e3",
        "1E3",
        "1.",
        "1.G",
        "999999999999999999",
        "1e300",
        "7Ti",
        "1n",
    ] {
        assert_eq!(q(text).as_str(), text);
    }
}

#[test]
fn canonicalises_the_rest() {
    for (text, canonical) in [
        ("0", "0"),
        ("00", "0"),
        ("+", "0"),
        ("-0", "0"),
        ("0Ki", "0"),
        ("Gi", "0"),
        ("1024Mi", "1Gi"),
        ("0.5", "500m"),
        (".5", "500m"),
        ("1000m", "1"),
        ("1.5Gi", "1536Mi"),
        ("1.5Ki", "1536"),
        ("0.5Ki", "512"),
        ("-0.5Ki", "-512"),
        ("0.0005Ki", "512m"),
        ("1.0001Ki", "1024102400u"),
        ("1000k", "1M"),
        ("1000E", "1"),
        ("10E", "10E"),
        ("1e2", "100"),
        ("1e-1", "100e-3"),
        ("1e-10", "1e-9"),
        ("0.0000000001", "1n"),
        ("-0.0000000001", "-1n"),
        ("1Pi", "1Pi"),
        ("8Ei", "9223372036854775807"),
        ("10Ei", "9223372036854775807"),
        ("-10Ei", "-9223372036854775807"),
        ("1.123456789012345678901234567890Ki", "1150419751949n"),
        (
            "123456789012345678901234567890",
            "123456789012345678901234567890",
        ),
        ("1234567890123456789000", "1234567890123456789k"),
        ("1e2147483647", "10e2147483646"),
        ("8Ki", "8Ki"),
        ("8192", "8192"),
        ("8192Ki", "8Mi"),
    ] {
        assert_eq!(q(text).as_str(), canonical, "{text}");
    }
}

#[test]
fn rejects_as_upstream() {
    for (text, error) in [
        ("", QuantityError::Format),
        ("1 ", QuantityError::Format),
        ("abc", QuantityError::Format),
        ("1e3.5", QuantityError::Format),
        ("1e", QuantityError::Suffix),
        ("1Ki5", QuantityError::Suffix),
        ("1mi", QuantityError::Suffix),
        ("1e-", QuantityError::Suffix),
        ("Pi", QuantityError::Numeric),
        (".Pi", QuantityError::Numeric),
    ] {
        assert_eq!(Quantity::parse(text).unwrap_err(), error, "{text}");
    }
}

#[test]
fn values_round_up() {
    assert_eq!(q("1.5").value(), 2);
    assert_eq!(q("-1.5").value(), -2);
    assert_eq!(q("100m").milli_value(), 100);
    assert_eq!(q("1n").milli_value(), 1);
    assert_eq!(q("2Gi").value(), 2 << 30);
    assert_eq!(q("1e300").value(), 0);
    assert_eq!(q("1e-9").value(), 1);
    assert_eq!(q("1500m").as_i64(), None);
    assert_eq!(q("2k").as_i64(), Some(2000));
}

#[test]
fn sums_keep_the_format_of_the_left() {
    let sum = |a: &str, b: &str| {
        let mut left = q(a);
        left.add(&q(b));
        left.to_string()
    };
    assert_eq!(sum("1Gi", "512Mi"), "1536Mi");
    assert_eq!(sum("0", "1Gi"), "1Gi");
    assert_eq!(sum("100m", "1"), "1100m");
    assert_eq!(sum("900m", "100m"), "1");
    assert_eq!(sum("1G", "1Gi"), "2073741824");
    assert_eq!(sum("1e300", "1"), "1e300");
    let mut left = q("1Gi");
    left.sub(&q("1Gi"));
    assert!(left.is_zero());
    let mut rounded = q("1.5");
    rounded.round_up(0);
    assert_eq!(rounded.as_str(), "2");
}

#[test]
fn compares_amounts() {
    assert_eq!(q("1Ki"), q("1024"));
    assert_eq!(q("123.456"), q("123456m"));
    assert!(q("1G") < q("1Gi"));
    assert!(q("-1") < q("0") && q("0") < q("1n"));
    assert!(q("1e300") > q("1e299") && q("-1e300") < q("1e-9"));
    assert!(q("99999999999999999999999999999999999999") < q("1e38"));
}

#[test]
fn formats_new_amounts() {
    assert_eq!(
        Quantity::new(1 << 30, QuantityFormat::BinarySi).as_str(),
        "1Gi"
    );
    assert_eq!(Quantity::new(512, QuantityFormat::BinarySi).as_str(), "512");
    assert_eq!(
        Quantity::new(3_000, QuantityFormat::DecimalExponent).as_str(),
        "3e3"
    );
    assert_eq!(
        Quantity::new_milli(1500, QuantityFormat::DecimalSi).as_str(),
        "1500m"
    );
    assert_eq!(
        Quantity::new_milli(1_048_576_500, QuantityFormat::BinarySi).as_str(),
        "1048576500m"
    );
    assert_eq!(Quantity::ZERO, Quantity::default());
}
