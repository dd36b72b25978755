//! What functions take and give, for the checker.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use super::super::types::Type;

/// One form of a function.
pub(in super::super) struct Overload {
    pub(in super::super) args: Vec<Type>,
    pub(in super::super) result: Type,
}

/// `#` stands between the target of a member function and its name.
const TABLE: &str = "
size(string) int|size(bytes) int|size(list<A>) int|size(map<A,B>) int
string#size() int|bytes#size() int|list<A>#size() int|map<A,B>#size() int
dyn(A) dyn|type(A) type
int(int) int|int(uint) int|int(double) int|int(string) int|int(timestamp) int|int(duration) int
uint(uint) uint|uint(int) uint|uint(double) uint|uint(string) uint
double(double) double|double(int) double|double(uint) double|double(string) double
bool(bool) bool|bool(string) bool
bytes(bytes) bytes|bytes(string) bytes
string(string) string|string(bool) string|string(int) string|string(uint) string|string(double) string
string(bytes) string|string(timestamp) string|string(duration) string|string(ip) string|string(cidr) string
timestamp(timestamp) timestamp|timestamp(string) timestamp|timestamp(int) timestamp
duration(duration) duration|duration(string) duration|duration(int) duration
matches(string,string) bool|string#matches(string) bool
string#contains(string) bool|string#startsWith(string) bool|string#endsWith(string) bool
string#find(string) string|string#findAll(string) list<string>|string#findAll(string,int) list<string>
string#charAt(int) string|string#lowerAscii() string|string#upperAscii() string|string#trim() string
string#substring(int) string|string#substring(int,int) string|string#reverse() string
string#replace(string,string) string|string#replace(string,string,int) string
string#split(string) list<string>|string#split(string,int) list<string>
string#indexOf(string) int|string#indexOf(string,int) int
string#lastIndexOf(string) int|string#lastIndexOf(string,int) int
string#format(list<dyn>) string|strings.quote(string) string
list<string>#join() string|list<string>#join(string) string
list<A>#isSorted() bool|list<A>#sum() A|list<A>#min() A|list<A>#max() A
list<A>#indexOf(A) int|list<A>#lastIndexOf(A) int
list<A>#slice(int,int) list<A>|list<A>#flatten() list<dyn>|list<A>#flatten(int) list<dyn>
list<A>#distinct() list<A>|list<A>#sort() list<A>|list<A>#reverse() list<A>|lists.range(int) list<int>
list<A>#first() optional<A>|list<A>#last() optional<A>
sets.contains(list<A>,list<A>) bool|sets.equivalent(list<A>,list<A>) bool|sets.intersects(list<A>,list<A>) bool
optional.none() optional<A>|optional.of(A) optional<A>|optional.ofNonZeroValue(A) optional<A>
optional<A>#hasValue() bool|optional<A>#value() A|optional<A>#or(optional<A>) optional<A>|optional<A>#orValue(A) A
timestamp#getFullYear() int|timestamp#getMonth() int|timestamp#getDate() int|timestamp#getDayOfMonth() int
timestamp#getDayOfYear() int|timestamp#getDayOfWeek() int|timestamp#getHours() int|timestamp#getMinutes() int
timestamp#getSeconds() int|timestamp#getMilliseconds() int
timestamp#getFullYear(string) int|timestamp#getMonth(string) int|timestamp#getDate(string) int
timestamp#getDayOfMonth(string) int|timestamp#getDayOfYear(string) int|timestamp#getDayOfWeek(string) int
timestamp#getHours(string) int|timestamp#getMinutes(string) int|timestamp#getSeconds(string) int
timestamp#getMilliseconds(string) int
duration#getHours() int|duration#getMinutes() int|duration#getSeconds() int|duration#getMilliseconds() int
url(string) url|isURL(string) bool
url#getScheme() string|url#getHost() string|url#getHostname() string|url#getPort() string
url#getEscapedPath() string|url#getQuery() map<string,list<string>>
ip(string) ip|isIP(string) bool|ip.isCanonical(string) bool|ip#family() int|ip#isUnspecified() bool
ip#isLoopback() bool|ip#isLinkLocalMulticast() bool|ip#isLinkLocalUnicast() bool|ip#isGlobalUnicast() bool
cidr(string) cidr|isCIDR(string) bool|cidr#ip() ip|cidr#prefixLength() int|cidr#masked() cidr
cidr#containsIP(ip) bool|cidr#containsIP(string) bool|cidr#containsCIDR(cidr) bool|cidr#containsCIDR(string) bool
quantity(string) quantity|isQuantity(string) bool|quantity#sign() int|quantity#isInteger() bool
quantity#asInteger() int|quantity#asApproximateFloat() double|quantity#add(quantity) quantity
quantity#add(int) quantity|quantity#sub(quantity) quantity|quantity#sub(int) quantity
quantity#isLessThan(quantity) bool|quantity#isGreaterThan(quantity) bool|quantity#compareTo(quantity) int
semver(string) semver|semver(string,bool) semver|isSemver(string) bool|isSemver(string,bool) bool
semver#major() int|semver#minor() int|semver#patch() int
semver#isLessThan(semver) bool|semver#isGreaterThan(semver) bool|semver#compareTo(semver) int
format.named(string) optional<format>|format#validate(string) optional<list<string>>
format.dns1123Label() format|format.dns1123Subdomain() format|format.dns1035Label() format
format.qualifiedName() format|format.dns1123LabelPrefix() format|format.dns1123SubdomainPrefix() format
format.dns1035LabelPrefix() format|format.labelValue() format|format.uri() format|format.uuid() format
format.byte() format|format.date() format|format.datetime() format
jsonpatch.escapeKey(string) string
authorizer#path(string) pathcheck|pathcheck#check(string) decision
authorizer#group(string) groupcheck|groupcheck#resource(string) resourcecheck
authorizer#serviceAccount(string,string) authorizer
resourcecheck#subresource(string) resourcecheck|resourcecheck#namespace(string) resourcecheck
resourcecheck#name(string) resourcecheck|resourcecheck#fieldSelector(string) resourcecheck
resourcecheck#labelSelector(string) resourcecheck|resourcecheck#check(string) decision
authorizer#requestResource() resourcecheck
decision#allowed() bool|decision#reason() string|decision#errored() bool|decision#error() string
";

/// By name; members with a leading `#`.
static OVERLOADS: LazyLock<HashMap<String, Vec<Overload>>> = LazyLock::new(|| {
    let mut table: HashMap<String, Vec<Overload>> = HashMap::new();
    for row in TABLE.split(['\n', '|']).filter(|row| !row.is_empty()) {
        let (name, overload) = read_row(row);
        table.entry(name).or_default().push(overload);
    }
    table
});

fn read_row(row: &str) -> (String, Overload) {
    let (head, result) = row.rsplit_once(' ').unwrap_or((row, "dyn"));
    let (name, args) = head.split_once('(').unwrap_or((head, ")"));
    let mut types = Vec::new();
    let name = match name.split_once('#') {
        Some((target, name)) => {
            types.push(read_type(target));
            format!("#{name}")
        }
        None => name.to_owned(),
    };
    types.extend(split_types(args.trim_end_matches(')')).into_iter().map(read_type));
    (name, Overload { args: types, result: read_type(result) })
}

/// Splits at commas that are not within brackets.
fn split_types(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '<' => depth += 1,
            '>' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if start < text.len() {
        parts.push(&text[start..]);
    }
    parts
}

fn read_type(text: &str) -> Type {
    if let Some((outer, inner)) = text.split_once('<') {
        let inner = split_types(&inner[..inner.len() - 1]);
        let inner: Vec<Arc<Type>> = inner.into_iter().map(|part| Arc::new(read_type(part))).collect();
        return match (outer, inner.as_slice()) {
            ("list", [element]) => Type::List(Arc::clone(element)),
            ("optional", [value]) => Type::Optional(Arc::clone(value)),
            ("map", [key, value]) => Type::Map(Arc::clone(key), Arc::clone(value)),
            _ => Type::Dyn,
        };
    }
    match text {
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "timestamp" => Type::Timestamp,
        "duration" => Type::Duration,
        "type" => Type::Type,
        "ip" => Type::Named("net.IP"),
        "cidr" => Type::Named("net.CIDR"),
        "url" => Type::Named("kubernetes.URL"),
        "quantity" => Type::Named("kubernetes.Quantity"),
        "semver" => Type::Named("kubernetes.Semver"),
        "format" => Type::Named("kubernetes.NamedFormat"),
        "authorizer" => Type::Named("kubernetes.authorization.Authorizer"),
        "pathcheck" => Type::Named("kubernetes.authorization.PathCheck"),
        "groupcheck" => Type::Named("kubernetes.authorization.GroupCheck"),
        "resourcecheck" => Type::Named("kubernetes.authorization.ResourceCheck"),
        "decision" => Type::Named("kubernetes.authorization.Decision"),
        "A" | "B" => Type::Parameter(text.chars().next().unwrap_or('A')),
        _ => Type::Dyn,
    }
}

/// The forms of a function.
pub(in super::super) fn overloads(member: bool, function: &str) -> Option<&'static [Overload]> {
    let found = if member { OVERLOADS.get(&format!("#{function}")) } else { OVERLOADS.get(function) };
    found.map(Vec::as_slice)
}

/// Whether that qualified name is a function's.
pub(in super::super) fn is_global(function: &str) -> bool {
    OVERLOADS.contains_key(function)
}

/// What a type's name stands for when it is used as a value.
pub(in super::super) fn type_of_name(name: &str) -> Option<&'static str> {
    let names = ["bool", "int", "uint", "double", "string", "bytes", "list", "map", "type", "null_type"];
    names.into_iter().find(|known| *known == name)
}
