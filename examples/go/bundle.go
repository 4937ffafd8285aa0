package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"

	"github.com/gowebpki/jcs"
	"sigs.k8s.io/yaml"
)

// What only a live object has; it is never part of what is desired.
var liveMetadata = []string{
	"creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "generation", "managedFields",
	"resourceVersion", "selfLink", "uid",
}

// Kubernetes' own kinds live in a namespace unless they are listed below; of others only a cluster can tell.
var builtInGroups = strings.Fields(`
	admissionregistration.k8s.io apiextensions.k8s.io apiregistration.k8s.io apps autoscaling batch
	certificates.k8s.io coordination.k8s.io discovery.k8s.io events.k8s.io flowcontrol.apiserver.k8s.io
	networking.k8s.io node.k8s.io policy rbac.authorization.k8s.io resource.k8s.io scheduling.k8s.io storage.k8s.io`)

var clusterScoped = strings.Fields(`
	Namespace. Node. PersistentVolume.
	MutatingAdmissionPolicy.admissionregistration.k8s.io MutatingAdmissionPolicyBinding.admissionregistration.k8s.io
	MutatingWebhookConfiguration.admissionregistration.k8s.io
	ValidatingAdmissionPolicy.admissionregistration.k8s.io
	ValidatingAdmissionPolicyBinding.admissionregistration.k8s.io
	ValidatingWebhookConfiguration.admissionregistration.k8s.io
	CustomResourceDefinition.apiextensions.k8s.io APIService.apiregistration.k8s.io
	CertificateSigningRequest.certificates.k8s.io ClusterTrustBundle.certificates.k8s.io
	FlowSchema.flowcontrol.apiserver.k8s.io PriorityLevelConfiguration.flowcontrol.apiserver.k8s.io
	IPAddress.networking.k8s.io IngressClass.networking.k8s.io ServiceCIDR.networking.k8s.io
	RuntimeClass.node.k8s.io ClusterRole.rbac.authorization.k8s.io ClusterRoleBinding.rbac.authorization.k8s.io
	DeviceClass.resource.k8s.io ResourceSlice.resource.k8s.io PriorityClass.scheduling.k8s.io
	CSIDriver.storage.k8s.io CSINode.storage.k8s.io StorageClass.storage.k8s.io VolumeAttachment.storage.k8s.io
	VolumeAttributesClass.storage.k8s.io`)

// A line that begins a document; what follows on it belongs to the document.
var documentStart = regexp.MustCompile(`(?m)^---(?:[ \t]|\r?$)`)

// id is what names an object within a cluster. Objects of a bundle come in its order.
type id struct{ group, kind, namespace, name string }

func (a id) compare(b id) int {
	return cmp.Or(
		cmp.Compare(a.group, b.group),
		cmp.Compare(a.kind, b.kind),
		cmp.Compare(a.namespace, b.namespace),
		cmp.Compare(a.name, b.name),
	)
}

func (a id) String() string {
	return strings.TrimSuffix(a.kind+"."+a.group, ".") + " " + strings.TrimPrefix(a.namespace+"/"+a.name, "/")
}

// bundle gives the canonical bytes of a bundle of all objects in the files; their sha256 is its name.
//
// JSON Lines: a header, then one object a line in the order of their ids, each in canonical form. Equal content gives
// equal bytes, so the hash is the one that `driftless push` gives for the same files.
func bundle(component string, paths []string) ([]byte, error) {
	manifests := map[id][]byte{}
	for _, path := range paths {
		objects, err := read(path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		for _, object := range objects {
			id, err := desire(object, "default")
			if err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
			if manifests[id] != nil {
				return nil, fmt.Errorf("%s: %s is there twice: an object may appear once", path, id)
			}
			if manifests[id], err = canonical(nil, object); err != nil {
				return nil, fmt.Errorf("%s: %s: %w", path, id, err)
			}
		}
	}
	ids := make([]id, 0, len(manifests))
	for id := range manifests {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, id.compare)

	out, err := canonical(nil, map[string]any{"component": component, "format": json.Number("1")})
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		out = append(append(out, '\n'), manifests[id]...)
	}
	return append(out, '\n'), nil
}

// read gives all objects of a file, as kubectl reads it; lists are taken apart.
func read(path string) ([]any, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var objects []any
	for _, document := range documentStart.Split(string(content), -1) {
		text, err := yaml.YAMLToJSONStrict([]byte(document))
		if err != nil {
			return nil, err
		}
		var object any
		decoder := json.NewDecoder(bytes.NewReader(text))
		// Whole numbers of 64 bits would not survive a float64.
		decoder.UseNumber()
		if err := decoder.Decode(&object); err != nil {
			return nil, err
		}
		if object != nil {
			objects = append(objects, items(object)...)
		}
	}
	return objects, nil
}

func items(object any) []any {
	fields, _ := object.(map[string]any)
	kind, _ := fields["kind"].(string)
	list, isList := fields["items"].([]any)
	if !isList || !strings.HasSuffix(kind, "List") {
		return []any{object}
	}
	var all []any
	for _, item := range list {
		all = append(all, items(item)...)
	}
	return all
}

// desire takes away what only a live object has, and gives a namespace where the kind has one.
func desire(object any, namespace string) (id, error) {
	fields, _ := object.(map[string]any)
	metadata, _ := fields["metadata"].(map[string]any)
	apiVersion, _ := fields["apiVersion"].(string)
	kind, _ := fields["kind"].(string)
	name, _ := metadata["name"].(string)
	if apiVersion == "" || kind == "" || name == "" {
		return id{}, fmt.Errorf("every object needs apiVersion, kind and metadata.name")
	}
	delete(fields, "status")
	for field, value := range metadata {
		if value == nil || slices.Contains(liveMetadata, field) {
			delete(metadata, field)
		}
	}
	group := ""
	if slash := strings.LastIndex(apiVersion, "/"); slash >= 0 {
		group = apiVersion[:slash]
	}
	own, _ := metadata["namespace"].(string)
	builtIn := group == "" || slices.Contains(builtInGroups, group)
	if own == "" && builtIn && !slices.Contains(clusterScoped, kind+"."+group) {
		own = namespace
		metadata["namespace"] = own
	}
	return id{group, kind, own, name}, nil
}

// canonical appends RFC 8785, but for whole numbers beyond 2^53: those are written exactly, where 64 bits hold them.
func canonical(out []byte, value any) ([]byte, error) {
	var err error
	switch value := value.(type) {
	case map[string]any:
		keys := make([]string, 0, len(value))
		for key := range value {
			keys = append(keys, key)
		}
		slices.SortFunc(keys, func(a, b string) int {
			return slices.Compare(utf16.Encode([]rune(a)), utf16.Encode([]rune(b)))
		})
		out = append(out, '{')
		for index, key := range keys {
			if index > 0 {
				out = append(out, ',')
			}
			if out, err = canonical(out, key); err != nil {
				return nil, err
			}
			if out, err = canonical(append(out, ':'), value[key]); err != nil {
				return nil, err
			}
		}
		return append(out, '}'), nil
	case []any:
		out = append(out, '[')
		for index, item := range value {
			if index > 0 {
				out = append(out, ',')
			}
			if out, err = canonical(out, item); err != nil {
				return nil, err
			}
		}
		return append(out, ']'), nil
	case json.Number:
		text := value.String()
		if signed, err := strconv.ParseInt(text, 10, 64); err == nil {
			return strconv.AppendInt(out, signed, 10), nil
		}
		if unsigned, err := strconv.ParseUint(text, 10, 64); err == nil {
			return strconv.AppendUint(out, unsigned, 10), nil
		}
		float, err := value.Float64()
		if err != nil {
			return nil, err
		}
		text, err = jcs.NumberToJSON(float)
		return append(out, text...), err
	default:
		text, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		text, err = jcs.Transform(text)
		return append(out, text...), err
	}
}
