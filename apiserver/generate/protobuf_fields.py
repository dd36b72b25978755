#!/usr/bin/env python3
"""Writes src/object/protobuf/fields.rs: the field numbers of Kubernetes' protobuf encoding, which its Go types declare.

    python3 apiserver/generate/protobuf_fields.py KUBERNETES/staging/src/k8s.io && cargo fmt -p kubewright-apiserver

Only facts are kept: for each type its fields' numbers and JSON names, which of them are optional, and which are another
type's fields in place of one of their own.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(sys.argv[1])
CRATE = pathlib.Path(__file__).resolve().parent.parent
known = set(re.findall(r'^    t\("([^"]+)"', (CRATE.parent / "api/src/schema/generated.rs").read_text(), re.M))
PACKAGES = {
    "io.k8s.apimachinery.pkg.apis.meta.v1": ROOT / "apimachinery/pkg/apis/meta/v1",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1": ROOT / "apiextensions-apiserver/pkg/apis/apiextensions/v1",
    "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1": ROOT / "kube-aggregator/pkg/apis/apiregistration/v1",
}
for directory in sorted((ROOT / "api").glob("*/v*")):
    PACKAGES[f"io.k8s.api.{directory.parent.name}.{directory.name}"] = directory
ALIAS = re.compile(r"^type (\w+) (?:= )?v1\.(\w+)$")
FIELD = re.compile(r"^\s+(?:(\w+)\s+)?([*\[\]\w.{}]+)\s+`(.*)`")
messages, aliases = {}, {}
for package, directory in PACKAGES.items():
    if not any(name.startswith(package + ".") for name in known):
        continue
    for path in sorted(directory.glob("*.go")):
        if path.name.startswith("zz_") or path.name == "generated.pb.go" or path.name.endswith("_test.go"):
            continue
        current = None
        for line in path.read_text().splitlines():
            start, alias = re.match(r"^type (\w+) struct \{", line), ALIAS.match(line)
            if alias:
                aliases[f"{package}.{alias[1]}"] = f"{package.rsplit('.', 1)[0]}.v1.{alias[2]}"
            elif start:
                current = messages.setdefault(f"{package}.{start[1]}", [])
            elif line.startswith("}"):
                current = None
            elif current is not None:
                found = FIELD.match(line)
                number = found and re.search(r'protobuf:"\w+,(\d+),', found[3])
                name = found and re.search(r'json:"([^"]*)"', found[3])
                if not (number and name):
                    continue
                json_name = name[1].split(",")[0]
                go_type = found[2]
                pointer = go_type.startswith("*")
                target = go_type.lstrip("*")
                inline = "" if json_name else (target if "." in target else f"{package}.{target}")
                current.append((int(number[1]), json_name, pointer, inline))
# Where a version has another's type, it has its fields under its own name.
for name, original in aliases.items():
    if original in messages:
        messages[name] = messages[original]
needed, todo = set(), [name for name in messages if name in known]
while todo:
    name = todo.pop()
    if name in needed:
        continue
    needed.add(name)
    todo += [inline for *_, inline in messages.get(name, []) if inline in messages]
rows = sorted(name for name in needed if messages[name])
out = ["//! Made by `generate/protobuf_fields.py` from the declarations of Kubernetes 1.36's Go types. Do not edit.", "",
       "use super::Field;", "", "/// Sorted by name.", "#[rustfmt::skip]",
       f"pub(super) static MESSAGES: [(&str, &[Field]); {len(rows)}] = ["]
for name in rows:
    fields = []
    for number, json_name, pointer, inline in sorted(messages[name]):
        if inline:
            fields.append(f'Field::inline({number}, "{inline}")')
        else:
            fields.append(f'Field::{"optional" if pointer else "plain"}({number}, "{json_name}")')
    out.append(f'    ("{name}", &[{", ".join(fields)}]),')
out.append("];")
target = CRATE / "src/object/protobuf/fields.rs"
target.parent.mkdir(exist_ok=True)
target.write_text("\n".join(out) + "\n")
