#!/usr/bin/env python3
"""Writes src/schema/generated.rs and src/resources/generated.rs from Kubernetes' published OpenAPI structure.

    python3 api/generate/generate.py DEFINITIONS.json PATHS.csv && cargo fmt -p kubewright-api

DEFINITIONS.json is the `definitions` object of Kubernetes' OpenAPI v2 document (structure only is enough), PATHS.csv its
operations as `path,method,action,group,version,kind,produces,consumes`. Only facts are kept: names, types and keys.
"""
import csv
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent.parent / "src"
definitions = json.load(open(sys.argv[1]))
paths = list(csv.DictReader(open(sys.argv[2])))
names = sorted(definitions)
index = {name: i for i, name in enumerate(names)}
SPECIAL = {
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": "IntOrString",
    "io.k8s.apimachinery.pkg.api.resource.Quantity": "Quantity",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Time": "Time",
    "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime": "MicroTime",
}


def rust(text):
    return json.dumps(text, ensure_ascii=False)


def shape(schema):
    ref = schema.get("$ref")
    if ref:
        name = ref.split("/")[-1]
        if name in SPECIAL:
            return SPECIAL[name]
        target = definitions[name]
        if target.get("properties"):
            return f"Object({index[name]})"
        if target.get("type") == "object" and "additionalProperties" in target:
            return shape(target)
        if target.get("type") in (None, "object"):
            return "Opaque"
        return shape(target)
    kind = schema.get("type")
    if kind == "array":
        return f"Array(&{shape(schema['items'])})"
    if kind == "object":
        extra = schema.get("additionalProperties")
        return f"Map(&{shape(extra)})" if extra else "Opaque"
    if kind == "string":
        return {"byte": "Bytes", "date-time": "Time", "int-or-string": "IntOrString"}.get(
            schema.get("format"), "String"
        )
    if kind == "integer":
        return {"int32": "Int32", "int64": "Int64"}[schema.get("format", "int64")]
    if kind == "number":
        return "Number"
    if kind == "boolean":
        return "Boolean"
    return "Opaque"


def field(name, schema, required):
    lists = schema.get("x-kubernetes-list-type")
    keys = schema.get("x-kubernetes-list-map-keys", [])
    if lists == "map":
        merge = f".list_map(&[{', '.join(rust(k) for k in keys)}])"
    elif lists == "set":
        merge = ".set()"
    elif lists == "atomic" or schema.get("x-kubernetes-map-type") == "atomic":
        merge = ".atomic()"
    else:
        target = definitions.get(schema.get("$ref", "").split("/")[-1], {})
        merge = ".atomic()" if target.get("x-kubernetes-map-type") == "atomic" else ""
        if merge == "" and schema.get("type") == "array":
            merge = ".atomic()"
    strategies = schema.get("x-kubernetes-patch-strategy", "").split(",")
    key = schema.get("x-kubernetes-patch-merge-key")
    text = f"f({rust(name)}, {shape(schema)})" + merge
    if required:
        text += ".required()"
    if "merge" in strategies:
        text += f".merge({rust(key or '')})"
    if "retainKeys" in strategies:
        text += ".retain_keys()"
    return text


out = ["//! Made by `generate/generate.py` from Kubernetes 1.36's OpenAPI structure. Do not edit.", "",
       "use super::Shape::*;", "use super::{Type, f, t};", "", "#[rustfmt::skip]", f"pub(super) static TYPES: [Type; {len(names)}] = ["]
for name in names:
    d = definitions[name]
    required = set(d.get("required", []))
    fields = ", ".join(field(n, s, n in required) for n, s in sorted(d.get("properties", {}).items()))
    atomic = str(d.get("x-kubernetes-map-type") == "atomic").lower()
    out.append(f"    t({rust(name)}, {atomic}, &[{fields}]),")
out.append("];\n")
gvks = sorted((g["group"], g["version"], g["kind"], i) for i, n in enumerate(names)
              for g in definitions[n].get("x-kubernetes-group-version-kind", []))
seen = {}
for g, v, k, i in gvks:
    seen.setdefault((g, v, k), i)
out.append("/// Sorted by group, version and kind.")
out.append("#[rustfmt::skip]")
out.append(f"pub(super) static KINDS: [(&str, &str, &str, u16); {len(seen)}] = [")
out += [f"    ({rust(g)}, {rust(v)}, {rust(k)}, {i})," for (g, v, k), i in sorted(seen.items())]
out.append("];")
(HERE / "schema/generated.rs").write_text("\n".join(out) + "\n")

SHORT = {"configmaps": "cm", "componentstatuses": "cs", "endpoints": "ep", "events": "ev", "limitranges": "limits", "namespaces": "ns",
         "nodes": "no", "persistentvolumeclaims": "pvc", "persistentvolumes": "pv", "pods": "po", "replicationcontrollers": "rc",
         "resourcequotas": "quota", "serviceaccounts": "sa", "services": "svc", "customresourcedefinitions": "crd crds",
         "daemonsets": "ds", "deployments": "deploy", "replicasets": "rs", "statefulsets": "sts", "horizontalpodautoscalers": "hpa",
         "cronjobs": "cj", "certificatesigningrequests": "csr", "ingresses": "ing", "networkpolicies": "netpol",
         "poddisruptionbudgets": "pdb", "priorityclasses": "pc", "storageclasses": "sc", "ipaddresses": "ip",
         "volumeattributesclasses": "vac"}
ALL = {"pods", "services", "replicationcontrollers", "daemonsets", "deployments", "replicasets", "statefulsets",
       "horizontalpodautoscalers", "cronjobs", "jobs"}
CATEGORIES = {"customresourcedefinitions": "api-extensions", "validatingwebhookconfigurations": "api-extensions",
              "mutatingwebhookconfigurations": "api-extensions", "validatingadmissionpolicies": "api-extensions",
              "validatingadmissionpolicybindings": "api-extensions", "mutatingadmissionpolicies": "api-extensions",
              "mutatingadmissionpolicybindings": "api-extensions", "apiservices": "api-extensions"}
table = {}
for r in paths:
    p = r["path"]
    if "/watch/" in p or not r["kind"]:
        continue
    parts = [x for x in p.split("/") if x]
    group, version, rest = ("", parts[1], parts[2:]) if parts[0] == "api" else (parts[1], parts[2], parts[3:])
    if version not in ("v1", "v2"):
        continue
    namespaced = rest[:2] == ["namespaces", "{namespace}"] and len(rest) > 2
    if namespaced:
        rest = rest[2:]
    resource, sub = rest[0], rest[2] if len(rest) > 2 else ""
    row = table.setdefault((group, version, resource, sub), {"kind": "", "ns": False, "verbs": set(), "gvk": None})
    row["ns"] |= namespaced
    verb = {"post": "create", "put": "update", "watchlist": "watch"}.get(r["action"], r["action"])
    if verb == "connect":
        verb = {"get": "get", "post": "create", "put": "update", "delete": "delete", "patch": "patch"}.get(r["method"])
        if verb is None:
            continue
    row["verbs"].add(verb)
    row["kind"] = row["kind"] or r["kind"]
    row["gvk"] = row["gvk"] or (r["group"], r["version"], r["kind"])
ORDER = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
SINGULAR = {"endpoints": "endpoints"}
out = ["//! Made by `generate/generate.py` from the paths of Kubernetes 1.36's API. Do not edit.", "", "use super::{Resource, Scope, Subresource};", ""]
mains = [k for k in sorted(table) if k[3] == ""]
out.append(f"pub(super) static BUILT_IN: [Resource; {len(mains)}] = [")
for group, version, resource, _ in mains:
    row = table[(group, version, resource, "")]
    verbs = [v for v in ORDER if v in row["verbs"]]
    if "list" in verbs and "create" in verbs and "watch" not in verbs:
        verbs.append("watch")
    subs = [(k[3], table[k]) for k in sorted(table) if k[:3] == (group, version, resource) and k[3]]
    sub_rows = ", ".join(
        f"Subresource {{ name: {rust(n)}, group: {rust(s['gvk'][0])}, version: {rust(s['gvk'][1])}, kind: {rust(s['gvk'][2])}, "
        f"verbs: &[{', '.join(rust(v) for v in ORDER if v in s['verbs'])}] }}" for n, s in subs)
    cats = (["all"] if resource in ALL else []) + CATEGORIES.get(resource, "").split()
    shorts = SHORT.get(resource, "").split()
    out.append(
        f"Resource {{ group: {rust(group)}, version: {rust(version)}, kind: {rust(row['kind'])}, plural: {rust(resource)}, "
        f"singular: {rust(row['kind'].lower())}, short_names: &[{', '.join(map(rust, shorts))}], "
        f"categories: &[{', '.join(map(rust, cats))}], scope: Scope::{'Namespaced' if row['ns'] else 'Cluster'}, "
        f"verbs: &[{', '.join(map(rust, verbs))}], subresources: &[{sub_rows}] }},")
out.append("];")
(HERE / "resources/generated.rs").write_text("\n".join(out) + "\n")
