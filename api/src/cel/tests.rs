use serde_json::{Value as Json, json};

use super::*;

fn run(source: &str, object: &Json) -> Result<Json, String> {
    run_in(&Env::new().with("self", Type::Dyn), source, object)
}

fn run_in(env: &Env, source: &str, object: &Json) -> Result<Json, String> {
    let program = Program::compile(source, env).map_err(|error| error.to_string())?;
    let value = program.eval(&[("self", Value::json(object))], &mut Budget::per_call());
    value.map_err(|error| error.to_string()).map(|value| value.to_json().unwrap_or_else(|| format!("{value:?}").into()))
}

#[track_caller]
fn gives(source: &str, expected: Json) {
    let object = json!({"a": 1, "b": [1, 2, 3], "s": "text", "m": {"x": "1", "y": "2"}, "d": 1.5, "n": null});
    assert_eq!(run(source, &object).as_ref(), Ok(&expected), "{source}");
}

#[track_caller]
fn fails(source: &str, message: &str) {
    let error = run(source, &json!({"a": 1, "b": [1, 2, 3]})).unwrap_err();
    assert!(error.contains(message), "{source}: {error}");
}

#[test]
fn operators_and_precedence() {
    gives("1 + 2 * 3 - 4 / 2", json!(5));
    gives("-(1 + 2) % 2", json!(-1));
    gives("1 < 2 && 2.5 >= 2.0 || false", json!(true));
    gives("self.a == 1 ? 'one' : 'many'", json!("one"));
    gives("2 in self.b && 'x' in self.m && !('z' in self.m)", json!(true));
    gives("1u + 2u == 3u", json!(true));
    gives("'a' + \"b\" + r'\\n' + '\\u0041'", json!("ab\\nA"));
    gives("b'ab' == bytes('ab')", json!(true));
    gives("[1, 2] + [3] == self.b", json!(true));
    gives("{'x': 1}.x + {'x': 2}['x']", json!(3));
    gives("-9223372036854775808 < 0", json!(true));
    gives("dyn(1) == dyn(1.0) && dyn(1) == dyn(1u)", json!(true));
    gives("'a' < 'b' && duration('1h') > duration('59m')", json!(true));
}

#[test]
fn macros() {
    gives("self.b.all(x, x > 0) && self.b.exists(x, x == 2) && self.b.exists_one(x, x == 3)", json!(true));
    gives("self.b.map(x, x * 2).filter(x, x > 2)", json!([4, 6]));
    gives("self.b.map(x, x > 1, x * 10)", json!([20, 30]));
    gives("self.m.all(k, self.m[k].size() == 1)", json!(true));
    gives("has(self.a) && !has(self.zzz) && !has(self.m.z)", json!(true));
    gives("self.m.transformMap(k, v, k + v)", json!({"x": "x1", "y": "y2"}));
    gives("self.b.transformList(i, v, i + v)", json!([1, 3, 5]));
    gives("self.b.all(i, v, i < v)", json!(true));
    gives("cel.bind(x, self.a + 1, x * x)", json!(4));
    gives("self.b.all(x, x / 0 == 1 || x > 0)", json!(true));
}

#[test]
fn optionals() {
    gives("self.?zzz.orValue('none')", json!("none"));
    gives("self.?m.?x.orValue('none')", json!("1"));
    gives("self.b[?9].hasValue()", json!(false));
    gives("optional.of(3).optMap(x, x + 1).value()", json!(4));
    gives("[?self.?a, ?self.?zzz]", json!([1]));
    gives("{?'k': self.?zzz, 'l': 1}", json!({"l": 1}));
}

#[test]
fn libraries() {
    gives("'Hello'.lowerAscii().replace('l', 'L').split('e')", json!(["h", "LLo"]));
    gives("'a,b'.split(',').join('-')", json!("a-b"));
    gives("'abc'.substring(1, 2) + 'abc'.charAt(0) + string('abc'.indexOf('c'))", json!("ba2"));
    gives("'abc123'.find('[0-9]+') + string('a1b2'.findAll('[0-9]').size())", json!("1232"));
    gives("'%s is %d and %.2f'.format(['a', 3, 1.5])", json!("a is 3 and 1.50"));
    gives("[3, 1, 2].max() + [3, 1].min() + [1, 2].sum()", json!(7));
    gives("[1, 2].isSorted() && ![2, 1].isSorted() && [2, 1].sort() == [1, 2]", json!(true));
    gives("sets.contains([1, 2, 3], [1, 3]) && sets.equivalent([1], [1, 1])", json!(true));
    gives("url('https://a.b:80/c?d=e').getHostname() + url('https://a.b:80/c?d=e').getQuery()['d'][0]", json!("a.be"));
    gives("ip('10.0.0.1').family() == 4 && cidr('10.0.0.0/8').containsIP('10.1.2.3') && !isIP('x')", json!(true));
    gives("cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && ip('::1').isLoopback()", json!(true));
    gives("quantity('1Gi').isGreaterThan(quantity('1G')) && quantity('50k').asInteger() == 50000", json!(true));
    gives("quantity('1500m').isInteger()", json!(false));
    gives("semver('1.2.3').isLessThan(semver('1.10.0')) && isSemver('v1.0', true)", json!(true));
    gives("!format.dns1123Label().validate('ab').hasValue() && format.named('uuid').hasValue()", json!(true));
    gives("format.dns1123Label().validate('A_').value().size() > 0", json!(true));
    gives("timestamp('2026-01-02T03:04:05Z').getHours() + duration('90m').getMinutes()", json!(93));
    gives("timestamp('2026-01-02T03:04:05Z').getHours('+02:00')", json!(5));
    gives("string(duration('90s')) + string(1.5) + string(true)", json!("90s1.5true"));
    gives("int('5') + int(2.9) + size('äb')", json!(9));
    gives("type(1) == int && type('a') == string", json!(true));
}

#[test]
fn errors_say_what_is_wrong() {
    fails("self.zzz", "no such key: zzz");
    fails("self.b[5]", "index out of bounds: 5");
    fails("1 / 0", "division by zero");
    fails("9223372036854775807 + 1", "integer overflow");
    fails("self.a + 'x'", "no such overload");
    fails(
        "1 +",
        "ERROR: <input>:1:4: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', ",
    );
    fails("self.", "ERROR: <input>:1:6: Syntax error: no viable alternative at input '.'\n | self.\n | .....^");
    fails(
        "1 = 2",
        "<input>:1:3: Syntax error: token recognition error at: '= '\n | 1 = 2\n | ..^\nERROR: <input>:1:5: ",
    );
    fails(
        "true\n  true",
        "ERROR: <input>:2:3: Syntax error: extraneous input 'true' expecting <EOF>\n |   true\n | ..^",
    );
    fails("'ä' + as", "ERROR: <input>:1:7: reserved identifier: as");
    fails("9223372036854775808", "invalid int literal");
    fails("'ä'.size() + foo", "ERROR: <input>:1:14: undeclared reference to 'foo'");
    fails("foo", "ERROR: <input>:1:1: undeclared reference to 'foo' (in container '')\n | foo\n | ^");
    fails("self.a.foo()", "undeclared reference to 'foo'");
    fails("'a' == 1", "found no matching overload for '_==_' applied to '(string, int)'");
    fails("'a'.startsWith(1)", "found no matching overload for 'startsWith' applied to 'string.(int)'");
    fails("[1, 'a']", "expected type 'int' but found 'string'");
    fails("'a'.matches('(')", "invalid matches argument");
    fails(&"(".repeat(5000), "recursion limit");
    fails(&"[".repeat(5000), "recursion limit");
    fails(&format!("1{}", " ? 1 : 1".repeat(5000)), "recursion limit");
    fails(&format!("1{}", "+1".repeat(49_990)), "recursion limit");
    fails(&format!("self{}", ".a".repeat(49_990)), "recursion limit");
    fails(&format!("self{}", "[0]".repeat(5000)), "recursion limit");
    fails(&" ".repeat(100_001), "expression code point size exceeds limit");
    gives(&format!("[1{}].size()", ",1".repeat(5000)), json!(5001));
    gives(&format!("true{}", " && true".repeat(5000)), json!(true));
    gives(&format!("{}true", "!".repeat(5000)), json!(true));
}

#[test]
fn objects_of_a_schema_are_checked_and_read_by_it() {
    let inner = Type::object("inner", [("at", Type::Timestamp), ("load", Type::Double)]);
    let env = Env::new().with("self", Type::object("object", [("spec", inner)])).returning(Type::Bool);
    let error = Program::compile("self.spec.foo == 1", &env).unwrap_err();
    assert!(error.message.contains("1:10: undefined field 'foo'"), "{error}");
    let ty = env.variables[0].1.clone();
    let object = json!({"spec": {"at": "2026-01-01T00:00:00Z", "load": 2}});
    let program = Program::compile("self.spec.at < timestamp('2026-01-02T00:00:00Z') && self.spec.load > 1.5", &env);
    let value = program.unwrap().eval(&[("self", Value::typed(&object, Some(&ty)))], &mut Budget::per_call());
    assert!(matches!(value, Ok(Value::Bool(true))), "{value:?}");
    assert!(Program::compile("self.spec.load", &env).unwrap_err().message.contains("must evaluate to bool"));
}

#[test]
fn objects_that_are_made_have_a_type() {
    let env = Env::new().making_patches();
    let gives = |source: &str, expected: Json| assert_eq!(run_in(&env, source, &json!({})), Ok(expected), "{source}");
    let fails = |source: &str, message: &str| {
        let error = run_in(&env, source, &json!({})).unwrap_err();
        assert!(error.contains(message), "{source}: {error}");
    };
    gives("jsonpatch.escapeKey('a/b~c')", json!("a~1b~0c"));
    gives("Object{spec: Object.spec{replicas: 1 + 1}}", json!({"spec": {"replicas": 2}}));
    gives("Object{spec: Object.spec{replicas: 1}}.spec.replicas == 1", json!(true));
    gives(
        "[JSONPatch{op: 'add', path: '/a', value: 1}, JSONPatch{op: 'test', path: '/b', value: {'c': 'd'}}]",
        json!([{"op": "add", "path": "/a", "value": 1}, {"op": "test", "path": "/b", "value": {"c": "d"}}]),
    );
    fails("JSONPatch{op: 1}", "expected type of field 'op' is 'string' but provided type is 'int'");
    fails("JSONPatch{operation: 'add'}", "expected type of field 'operation' is '' but provided type is 'string'");
    fails("Object{} == {'a': 1}", "found no matching overload for '_==_'");
    let named = |source: &str| {
        let program = Program::compile(source, &env).expect("an expression");
        program.eval(&[], &mut Budget::per_call()).expect("an object").check_names()
    };
    assert_eq!(named("Object{spec: Object.spec{list: [Object.spec.list{a: 1}]}}"), Ok(()));
    assert_eq!(named("Object{spec: {'a': 1}}"), Ok(()));
    let error = named("Object{spec: Object.template{a: Object{}}}").expect_err("they are misnamed");
    assert_eq!(error.lines().count(), 2, "{error}");
    assert!(error.starts_with("unexpected type name \"Object.template\", expected \"Object.spec\""), "{error}");
}

#[test]
fn what_patches_are_made_of_is_known_where_patches_are_made() {
    for (source, message) in [
        ("Object{spec: c} == 1", "<input>:1:7: undeclared reference to 'Object' (in container '')"),
        ("Object.spec{} == 1", "<input>:1:12: undeclared reference to 'Object.spec' (in container '')"),
        ("JSONPatch{op: 1} == null", "<input>:1:10: undeclared reference to 'JSONPatch' (in container '')"),
        ("jsonpatch.escapeKey('a') == ''", "<input>:1:1: undeclared reference to 'jsonpatch' (in container '')"),
        ("jsonpatch.escapeKey('a') == ''", "<input>:1:20: undeclared reference to 'escapeKey' (in container '')"),
    ] {
        fails(source, message);
    }
    let env = Env::new().making_patches();
    for (source, name) in [("Foo{a: 1} == 2", "1:4: undeclared reference to 'Foo'"), ("a.b.Foo{} == 2", "'a.b.Foo'")] {
        let error = run_in(&env, source, &json!({})).unwrap_err();
        assert!(error.contains(name), "{error}");
    }
}

#[test]
fn faults_are_told_in_the_order_of_their_places() {
    let error = run("self.a.nope(x)", &json!({})).unwrap_err();
    let (function, name) =
        (error.find("1:12: undeclared reference to 'nope'"), error.find("1:13: undeclared reference to 'x'"));
    assert!(function.is_some() && function < name, "{error}");
}

#[test]
fn a_run_ends_when_its_budget_is_spent() {
    let list: Vec<i64> = (0..2000).collect();
    let source = "self.all(a, self.all(b, self.all(c, a + b + c >= 0)))";
    let error = run(source, &json!(list)).unwrap_err();
    assert_eq!(error, "operation cancelled: actual cost limit exceeded");
    let mut budget = Budget::new(1000);
    let program = Program::compile("1 + 1 == 2", &Env::new()).unwrap();
    program.eval(&[], &mut budget).unwrap();
    assert_eq!(budget.spent(), 2);
}

#[test]
fn estimates_follow_the_sizes_of_the_schema() {
    let text = Sizes { max: 100, ..Sizes::default() };
    let list = |max: u64| Sizes { max, element: Some(Box::new(text.clone())), ..Sizes::default() };
    let cost = |source: &str, sizes: &Sizes| {
        let program = Program::compile(source, &Env::new().with("self", Type::list(Type::String))).unwrap();
        program.estimate(&[("self", sizes)]).max
    };
    let (few, many) = (cost("self.all(x, x == 'a')", &list(10)), cost("self.all(x, x == 'a')", &list(1_000_000)));
    assert!(few < 100 && many > 1_000_000, "{few} {many}");
    assert!(cost("self.all(x, self.all(y, x == y))", &list(10_000)) > 100_000_000);
}

#[test]
fn names_that_are_read() {
    let env = Env::new().with("self", Type::Dyn).with("oldSelf", Type::Dyn);
    assert!(Program::compile("self.a == oldSelf.a", &env).unwrap().reads("oldSelf"));
    assert!(!Program::compile("self.all(oldSelf, oldSelf > 0)", &env).unwrap().reads("oldSelf"));
}

#[test]
fn one_call_makes_nothing_enormous() {
    let long = serde_json::json!({"a": "x".repeat(20_000), "l": vec!["x"; 2000]});
    let env = Env::new().with("self", Type::map(Type::Dyn));
    for source in [
        "self.a.replace('x', self.a).size() > 0",
        "self.l.map(x, self.a).join().size() > 0",
        "'%s'.format([self.l.map(x, self.a)]).size() > 0",
        "self.l.map(x, self.l).flatten().size() > 0",
    ] {
        let program = Program::compile(source, &env).unwrap();
        let mut budget = Budget::new(u64::MAX / 2);
        let error = program.eval(&[("self", Value::json(&long))], &mut budget).unwrap_err();
        assert!(error.message.starts_with("the size of the result would exceed"), "{source}: {error}");
    }
    let source = "['a', 'b', 'a'].distinct() == ['a', 'b'] && [1, 2, 1].distinct() == [1, 2]";
    let program = Program::compile(source, &env).unwrap();
    let found = program.eval(&[("self", Value::json(&long))], &mut Budget::per_call()).unwrap();
    assert!(matches!(found, Value::Bool(true)), "{found:?}");
}

#[test]
fn claims_of_a_token_are_doubles_found_under_escaped_names() {
    let claims = json!({"exp": 7, "kubernetes.io": {"pod-name": "a"}, "aud": ["x"]});
    let env = Env::new().with("claims", Type::map(Type::Dyn));
    let gives = |source: &str| {
        let program = Program::compile(source, &env).unwrap();
        program.eval(&[("claims", Value::claims(&claims))], &mut Budget::per_call()).map(|value| value.to_json())
    };
    assert_eq!(gives("type(claims.exp) == double && claims.exp == 7"), Ok(Some(json!(true))));
    assert_eq!(gives("claims.kubernetes__dot__io.pod__dash__name"), Ok(Some(json!("a"))));
    assert_eq!(gives("claims['kubernetes.io']['pod-name'] + claims.aud[0]"), Ok(Some(json!("ax"))));
    assert!(gives("claims.missing").unwrap_err().message.contains("no such key: missing"));
    let program = Program::compile("has(claims.email) && [1].all(x, claims.?sub.hasValue())", &env).unwrap();
    assert!(program.selects("claims", "email") && program.selects("claims", "sub"));
    assert!(!program.selects("claims", "groups") && !program.selects("user", "email"));
}
