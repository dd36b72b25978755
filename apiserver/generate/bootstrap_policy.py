#!/usr/bin/env python3
"""Writes src/bootstrap/rbac/policy.txt, the bootstrap roles and bindings, from their published lists.

    python3 apiserver/generate/bootstrap_policy.py DIRECTORY

DIRECTORY holds cluster-roles.yaml, controller-roles.yaml, namespace-roles.yaml and their bindings, as in Kubernetes'
pkg/apis/.../rbac test data. Only facts are kept: names, labels, rules and subjects. The form is described at the
top of the file it writes.
"""
import pathlib
import sys

import yaml

source = pathlib.Path(sys.argv[1])
AGGREGATE = "rbac.authorization.k8s.io/aggregate-to-"
out = ["""# Kubernetes 1.36's bootstrap policy. Made by generate/bootstrap_policy.py.
#
# clusterrole NAME [aggregates=LABEL] [to=LABEL]     role NAMESPACE NAME
#   VERBS : GROUPS : RESOURCES [: NAMES]             lists are separated by commas, the core group is written "core"
#   VERBS : URLS                                     for non-resource URLs
# clusterbinding NAME ROLE SUBJECT...                binding NAMESPACE NAME KIND/ROLE SUBJECT...
# A subject is user/NAME, group/NAME or account/NAMESPACE/NAME."""]


def load(name):
    return yaml.safe_load(open(source / name))["items"] or []


def rules(item):
    for rule in item.get("rules") or []:
        verbs = ",".join(rule["verbs"])
        if "nonResourceURLs" in rule:
            out.append(f"  {verbs} : {','.join(rule['nonResourceURLs'])}")
            continue
        groups = ",".join(group or "core" for group in rule["apiGroups"])
        names = " : " + ",".join(rule["resourceNames"]) if rule.get("resourceNames") else ""
        out.append(f"  {verbs} : {groups} : {','.join(rule['resources'])}{names}")


def subjects(item):
    words = []
    for subject in item.get("subjects") or []:
        if subject["kind"] == "ServiceAccount":
            words.append(f"account/{subject['namespace']}/{subject['name']}")
        else:
            words.append(f"{subject['kind'].lower()}/{subject['name']}")
    return " ".join(words)


for file in ["cluster-roles.yaml", "controller-roles.yaml"]:
    for item in load(file):
        line = f"clusterrole {item['metadata']['name']}"
        selectors = (item.get("aggregationRule") or {}).get("clusterRoleSelectors") or []
        for selector in selectors:
            (label,) = selector["matchLabels"]
            line += f" aggregates={label.removeprefix(AGGREGATE)}"
        for label in item["metadata"]["labels"]:
            if label.startswith(AGGREGATE):
                line += f" to={label.removeprefix(AGGREGATE)}"
        out.append(line)
        rules(item)
for item in load("namespace-roles.yaml"):
    out.append(f"role {item['metadata']['namespace']} {item['metadata']['name']}")
    rules(item)
for file in ["cluster-role-bindings.yaml", "controller-role-bindings.yaml"]:
    for item in load(file):
        out.append(f"clusterbinding {item['metadata']['name']} {item['roleRef']['name']} {subjects(item)}")
for item in load("namespace-role-bindings.yaml"):
    meta, ref = item["metadata"], item["roleRef"]
    out.append(f"binding {meta['namespace']} {meta['name']} {ref['kind']}/{ref['name']} {subjects(item)}")
target = pathlib.Path(__file__).resolve().parent.parent / "src/bootstrap/rbac/policy.txt"
target.write_text("\n".join(out) + "\n")
