"""From files to a bundle: the canonical bytes whose sha256 is the bundle's name.

A bundle is JSON Lines: a header, then one Kubernetes object a line in the order of their ids, each in canonical
form (RFC 8785, but whole numbers of 64 bits exactly). Equal content gives equal bytes, so the hash that comes out
here is the one that `driftless push` gives for the same files.
"""

import hashlib
import re

import rfc8785
import yaml

# What only a live object has; it is never part of what is desired.
LIVE_METADATA = {
    "creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "generation", "managedFields",
    "resourceVersion", "selfLink", "uid",
}  # fmt: skip

# Kubernetes' own kinds live in a namespace unless they are listed here; of others only a cluster can tell.
BUILT_IN_GROUPS = set("""
    admissionregistration.k8s.io apiextensions.k8s.io apiregistration.k8s.io apps autoscaling batch
    certificates.k8s.io coordination.k8s.io discovery.k8s.io events.k8s.io flowcontrol.apiserver.k8s.io
    networking.k8s.io node.k8s.io policy rbac.authorization.k8s.io resource.k8s.io scheduling.k8s.io storage.k8s.io
""".split()) | {""}
CLUSTER_SCOPED = set("""
    Namespace Node PersistentVolume
    MutatingAdmissionPolicy.admissionregistration.k8s.io MutatingAdmissionPolicyBinding.admissionregistration.k8s.io
    MutatingWebhookConfiguration.admissionregistration.k8s.io ValidatingAdmissionPolicy.admissionregistration.k8s.io
    ValidatingAdmissionPolicyBinding.admissionregistration.k8s.io
    ValidatingWebhookConfiguration.admissionregistration.k8s.io
    CustomResourceDefinition.apiextensions.k8s.io APIService.apiregistration.k8s.io
    CertificateSigningRequest.certificates.k8s.io ClusterTrustBundle.certificates.k8s.io
    FlowSchema.flowcontrol.apiserver.k8s.io PriorityLevelConfiguration.flowcontrol.apiserver.k8s.io
    IPAddress.networking.k8s.io IngressClass.networking.k8s.io ServiceCIDR.networking.k8s.io
    RuntimeClass.node.k8s.io ClusterRole.rbac.authorization.k8s.io ClusterRoleBinding.rbac.authorization.k8s.io
    DeviceClass.resource.k8s.io ResourceSlice.resource.k8s.io PriorityClass.scheduling.k8s.io
    CSIDriver.storage.k8s.io CSINode.storage.k8s.io StorageClass.storage.k8s.io VolumeAttachment.storage.k8s.io
    VolumeAttributesClass.storage.k8s.io
""".split())


class Problem(Exception):
    """Something about the files that a person has to mend."""


class Loader(yaml.SafeLoader):
    """Reads scalars as kubectl does, where PyYAML differs: dates and 1:30 are texts, 0o644 and 1e3 are numbers."""

    yaml_implicit_resolvers = {}

    def compose_mapping_node(self, anchor):
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge" or not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                raise Problem(f"{key.start_mark.name}:{key.start_mark.line + 1}: `{key.value}` is there twice")
            seen.add(key.value)
        return node

    def construct_mapping(self, node, deep=False):
        return {text_key(key): value for key, value in super().construct_mapping(node, deep).items()}


def text_key(key):
    if isinstance(key, bool):
        return "true" if key else "false"
    return key if isinstance(key, str) else str(key)


def resolves(tag, pattern, first):
    Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"^(?:{pattern})$", re.ASCII), list(first))


resolves("bool", "y|Y|yes|Yes|YES|on|On|ON|true|True|TRUE|n|N|no|No|NO|off|Off|OFF|false|False|FALSE", "yYnNtTfFoO")
resolves("int", r"[-+]?(?:0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*)", "-+0123456789")
resolves("float", r"[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)"
         r"|\.(?:nan|NaN|NAN)", "-+0123456789.")
resolves("null", "~|null|Null|NULL|", ["~", "n", "N", ""])
resolves("merge", "<<", "<")


def construct_bool(_loader, node):
    return node.value.lower() in ("y", "yes", "on", "true")


def construct_int(_loader, node):
    text = node.value.replace("_", "").lower()
    sign, digits = (-1 if text.startswith("-") else 1), text.lstrip("+-")
    for prefix, base in (("0b", 2), ("0o", 8), ("0x", 16), ("0", 8)):
        if digits.startswith(prefix) and digits != "0":
            return sign * int(digits[len(prefix):], base)
    return sign * int(digits)


Loader.add_constructor("tag:yaml.org,2002:bool", construct_bool)
Loader.add_constructor("tag:yaml.org,2002:int", construct_int)


def bundle(component, paths, namespace="default"):
    """The canonical bytes of a bundle of all objects in the files."""
    manifests = {}
    for path in paths:
        for document in read(path):
            for item in items(document):
                manifest = desired(item, namespace, path)
                key = identity(manifest)
                if key in manifests:
                    raise Problem(f"{path}: {described(manifest)} is there twice: an object may appear once")
                manifests[key] = manifest
    lines = [{"component": component, "format": 1}, *(manifests[key] for key in sorted(manifests))]
    return b"".join(canonical(line) + b"\n" for line in lines)


def read(path):
    try:
        with open(path, encoding="utf-8") as file:
            return [document for document in yaml.load_all(file, Loader) if document is not None]
    except (OSError, UnicodeDecodeError) as error:
        raise Problem(f"cannot read {path}: {error}") from None
    except yaml.YAMLError as error:
        raise Problem(str(error)) from None


def items(document):
    """The object itself, or all that a list holds."""
    if isinstance(document, dict) and str(document.get("kind", "")).endswith("List"):
        if isinstance(document.get("items"), list):
            for item in document["items"]:
                yield from items(item)
            return
    yield document


def desired(item, namespace, path):
    """The object without what only a live one has, and with a namespace where its kind has one."""
    metadata = item.get("metadata") if isinstance(item, dict) else None
    if not isinstance(metadata, dict) or not all(
        isinstance(text, str) and text for text in (item.get("apiVersion"), item.get("kind"), metadata.get("name"))
    ):
        raise Problem(f"{path}: every object needs apiVersion, kind and metadata.name")
    metadata = {key: value for key, value in metadata.items() if value is not None and key not in LIVE_METADATA}
    group, kind = group_of(item), item["kind"]
    scoped = f"{kind}.{group}".rstrip(".") not in CLUSTER_SCOPED and group in BUILT_IN_GROUPS
    if scoped and not metadata.get("namespace"):
        metadata["namespace"] = namespace
    return {key: value for key, value in item.items() if key != "status"} | {"metadata": metadata}


def group_of(item):
    group, _, _ = item["apiVersion"].rpartition("/")
    return group


def identity(item):
    """Group, kind, namespace, name. Objects come in this order, those without a namespace first."""
    metadata = item["metadata"]
    parts = (group_of(item), item["kind"], metadata.get("namespace") or "", metadata["name"])
    return tuple(part.encode() for part in parts)


def described(item):
    metadata = item["metadata"]
    return f"{item['kind']} {metadata.get('namespace', '')}/{metadata['name']}".replace(" /", " ")


def canonical(value):
    """RFC 8785, but for whole numbers beyond 2^53: those are written exactly, where 64 bits hold them."""
    if isinstance(value, dict):
        fields = sorted(value.items(), key=lambda field: field[0].encode("utf-16-be"))
        return b"{" + b",".join(rfc8785.dumps(key) + b":" + canonical(field) for key, field in fields) + b"}"
    if isinstance(value, list):
        return b"[" + b",".join(canonical(item) for item in value) + b"]"
    if isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**64:
        return str(value).encode()
    try:
        return rfc8785.dumps(value)
    except rfc8785.CanonicalizationError as error:
        raise Problem(f"a value that JSON cannot hold: {value!r} ({error})") from None


def sha256(content):
    return hashlib.sha256(content).digest()


if __name__ == "__main__":
    # What the bundle of some files is, for a look at it: python bundle.py shop shop.yaml
    import sys

    sys.stdout.buffer.write(bundle(sys.argv[1], sys.argv[2:]))
