use super::*;

fn vector(result: &str) -> String {
    format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{result}]}}}}"#)
}

fn series(labels: &[(&str, &str)], value: f64) -> Series {
    let labels = labels.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    Series { labels, value }
}

#[test]
fn series_come_sorted_and_without_their_name() {
    let text = vector(
        r#"{"metric":{"__name__":"up","job":"a\"b","asg":"ü"},"value":[1700000000.123,"1.5"]},
           {"value":[1700000000,"-2e3"],"metric":{}}"#,
    );
    let expected = vec![series(&[("asg", "ü"), ("job", "a\"b")], 1.5), series(&[], -2000.0)];
    assert_eq!(decode(&text), Ok(Decoded::Vector(expected)));
    assert_eq!(decode(&vector("")), Ok(Decoded::Vector(Vec::new())));
}

#[test]
fn values_that_json_cannot_write_are_kept() {
    for (text, expected) in [("+Inf", f64::INFINITY), ("-Inf", f64::NEG_INFINITY), ("1e-320", 1e-320)] {
        let text = vector(&format!(r#"{{"metric":{{}},"value":[1,"{text}"]}}"#));
        assert_eq!(decode(&text), Ok(Decoded::Vector(vec![series(&[], expected)])));
    }
    match decode(&vector(r#"{"metric":{},"value":[1,"NaN"]}"#)) {
        Ok(Decoded::Vector(series)) => assert!(series[0].value.is_nan()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_order_of_keys_and_unknown_ones_change_nothing() {
    let text = r#"{"infos":["a hint"],"stats":{"x":[1,{}]},"data":{"result":[1,"7"],"analysis":{},"resultType":"scalar"},
        "warnings":[],"isPartial":false,"status":"success"}"#;
    assert_eq!(decode(text), Ok(Decoded::Scalar(7.0)));
    let text = r#"{"status":"success","warnings":null,"data":{"result":[],"resultType":"vector"}}"#;
    assert_eq!(decode(text), Ok(Decoded::Vector(Vec::new())));
}

#[test]
fn every_answer_that_is_none_says_why() {
    let check = |text: &str, why: &str| {
        let failure = decode(text).unwrap_err();
        assert_eq!(failure.why.to_string(), why, "{text}: {}", failure.detail);
    };
    let data = |kind: &str, result: &str| {
        format!(r#"{{"status":"success","data":{{"resultType":"{kind}","result":{result}}}}}"#)
    };
    let good = vector(r#"{"metric":{},"value":[1,"1"]}"#);
    // Cut anywhere, it is no answer.
    for end in 0..good.len() {
        check(&good[..end], "malformed_answer");
    }
    for text in [
        "<html><body>sign in</body></html>",
        "[]",
        "null",
        "{}",
        r#"{"status":"success"}"#,
        r#"{"status":"success","data":null}"#,
        r#"{"status":"success","data":{"resultType":"vector"}}"#,
        r#"{"status":"success","data":{"resultType":"vector","result":null}}"#,
        r#"{"status":"success","data":{"resultType":"vector","result":{}}}"#,
        r#"{"status":"odd","data":{"resultType":"vector","result":[]}}"#,
        r#"{"status":"success","status":"success","data":{"resultType":"vector","result":[]}}"#,
        r#"{"status":"success","warnings":"text","data":{"resultType":"vector","result":[]}}"#,
        &format!("{good}x"),
        &data("scalar", "[]"),
        &data("scalar", r#"[1]"#),
        &data("scalar", r#"[1,"x"]"#),
        &data("scalar", r#"[1,"1",2]"#),
        &data("vector", r#"[1,"1"]"#),
        &data("streams", "[]"),
        &vector(r#"{"metric":{}}"#),
        &vector(r#"{"value":[1,"1"]}"#),
        &vector(r#"{"metric":{},"value":[1]}"#),
        &vector(r#"{"metric":{},"value":[1,1]}"#),
        &vector(r#"{"metric":{},"value":[1,"one"]}"#),
        &vector(r#"{"metric":{},"value":[1,""]}"#),
        &vector(r#"{"metric":{},"value":["1","1"]}"#),
        &vector(r#"{"metric":{},"value":[1,"1",2]}"#),
        &vector(r#"{"metric":{},"value":null}"#),
        &vector(r#"{"metric":[],"value":[1,"1"]}"#),
        &vector(r#"{"metric":{"a":1},"value":[1,"1"]}"#),
        &vector(r#"{"metric":{"a":"1","a":"2"},"value":[1,"1"]}"#),
        &vector(r#"{"metric":{},"value":[1,"1"]},5"#),
        &vector(r#""text""#),
        &vector(&"[".repeat(100_000)),
    ] {
        check(text, "malformed_answer");
    }
    check(&data("string", r#"[1,"text"]"#), "wrong_shape");
    check(&data("string", r#"[1,"17"]"#), "wrong_shape");
    check(&data("matrix", "[]"), "wrong_shape");
    check(&data("matrix", r#"[{"metric":{},"values":[[1,"1"],[2,"2"]]}]"#), "wrong_shape");
    check(&vector(r#"{"metric":{},"histogram":[1,{"count":"2","sum":"3","buckets":[]}]}"#), "wrong_shape");
    check(&good.replace("\"status\"", r#""warnings":["one of the stores did not answer"],"status""#), "partial");
    check(&good.replace("\"status\"", r#""isPartial":true,"status""#), "partial");
    let error = |kind: &str| format!(r#"{{"status":"error","errorType":"{kind}","error":"text"}}"#);
    check(&error("bad_data"), "refused");
    check(&error("execution"), "refused");
    check(&error("timeout"), "timeout");
    check(&error("canceled"), "timeout");
    check(&error("unavailable"), "unreachable");
    check(&error("internal"), "server_error");
    check(&error("something new"), "server_error");
    check(r#"{"status":"error"}"#, "malformed_answer");
}

#[test]
fn a_refusal_is_read_by_its_text_or_else_by_its_status() {
    let check = |status: u16, text: &str, why: &str| {
        assert_eq!(decode_refusal(status, text).why.to_string(), why, "{status} {text}");
    };
    check(400, r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#, "refused");
    check(503, r#"{"status":"error","errorType":"timeout","error":"query timed out"}"#, "timeout");
    check(422, r#"{"status":"error","errorType":"execution","error":"too many samples"}"#, "refused");
    check(401, "Unauthorized", "refused");
    check(403, "<html>", "refused");
    check(404, "404 page not found", "refused");
    check(429, "slow down", "refused");
    check(408, "", "timeout");
    check(504, "<html>", "timeout");
    check(502, "", "unreachable");
    check(503, "overloaded", "unreachable");
    check(500, "{}", "server_error");
    let shown = decode_refusal(400, r#"{"status":"error","errorType":"bad_data","error":"1:5: parse error"}"#);
    assert_eq!(shown.detail, "bad_data: 1:5: parse error");
    assert_eq!(decode_refusal(500, &"x\n".repeat(1000)).detail.len(), "answered with status 500: ".len() + 300);
}

#[test]
fn a_million_series_are_refused() {
    let answer = |count: usize| vector(&vec![r#"{"metric":{},"value":[1,"1"]}"#; count].join(","));
    assert!(matches!(decode(&answer(SERIES_MAX)), Ok(Decoded::Vector(series)) if series.len() == SERIES_MAX));
    for count in [SERIES_MAX + 1, 1_000_000] {
        assert_eq!(decode(&answer(count)).unwrap_err().why, MissingWhy::Refused);
    }
}
