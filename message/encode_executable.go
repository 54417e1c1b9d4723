package message

import (
	"maps"
	"slices"
	"strconv"
)

// encodeShared writes the shared members in the order of the schema; environment and volumes come from the caller.
func (e *Executable) encodeShared(w *writer, environment, volumes func()) {
	e.BaseContent.encode(w)
	w.boolean("allow_amend", e.AllowAmend)
	w.raw("metadata", e.Metadata)
	w.texts("authorized_keys", e.AuthorizedKeys)
	if e.Variables == nil {
		w.null("variables")
	} else {
		w.name("variables")
		w.open()
		for _, name := range slices.Sorted(maps.Keys(e.Variables)) {
			w.text(name, e.Variables[name])
		}
		w.close()
	}
	environment()
	e.Resources.encode(w)
	e.Payment.encode(w)
	e.Requirements.encode(w)
	volumes()
	w.optionalText("replaces", e.Replaces)
}

func (e *Executable) encodeVolumes(w *writer) {
	list(w, "volumes", e.Volumes, func(v Volume) { v.encode(w) })
}

func (e *Environment) encode(w *writer) {
	w.name("environment")
	w.open()
	if !e.instance && e.Hypervisor == nil && e.TrustedExecution == nil {
		w.boolean("reproducible", e.Reproducible)
		w.boolean("internet", e.Internet)
		w.boolean("aleph_api", e.AlephAPI)
		w.boolean("shared_cache", e.SharedCache)
		w.close()
		return
	}
	w.boolean("internet", e.Internet)
	w.boolean("aleph_api", e.AlephAPI)
	w.optionalText("hypervisor", e.Hypervisor)
	e.TrustedExecution.encode(w)
	w.boolean("reproducible", e.Reproducible)
	w.boolean("shared_cache", e.SharedCache)
	w.close()
}

func (t *TrustedExecution) encode(w *writer) {
	if t == nil {
		w.null("trusted_execution")
		return
	}
	w.name("trusted_execution")
	w.open()
	w.optionalText("firmware", (*string)(t.Firmware))
	w.unsigned("policy", t.Policy)
	// Older readers refuse the members of SEV-SNP even when they are null.
	if t.Mode != nil {
		w.text("mode", *t.Mode)
	}
	if t.Runtime != nil {
		w.raw("runtime", t.Runtime)
	}
	if t.Measurements != nil {
		encodeMeasurements(w, t.Measurements)
	}
	if t.AttestationPort != nil {
		w.integer("attestation_port", *t.AttestationPort)
	}
	w.close()
}

func encodeMeasurements(w *writer, measurements []Measurement) {
	list(w, "measurements", measurements, func(m Measurement) {
		w.open()
		w.text("platform", m.Platform)
		w.text("digest", m.Digest)
		w.optionalText("vcpu_type", m.VCPUType)
		w.close()
	})
}

func (w *writer) unsigned(name string, v uint64) {
	w.name(name)
	w.buf = strconv.AppendUint(w.buf, v, 10)
}

func (r *Resources) encode(w *writer) {
	w.name("resources")
	w.open()
	w.integer("vcpus", int64(r.VCPUs))
	w.integer("memory", int64(r.MemoryMiB))
	w.integer("seconds", int64(r.Seconds))
	if r.PublishedPorts == nil {
		w.null("published_ports")
	} else {
		list(w, "published_ports", r.PublishedPorts, func(p Port) {
			w.open()
			w.text("protocol", p.Protocol)
			w.integer("port", int64(p.Port))
			w.close()
		})
	}
	w.close()
}

func (r *Requirements) encode(w *writer) {
	if r == nil {
		w.null("requirements")
		return
	}
	w.name("requirements")
	w.open()
	if c := r.CPU; c == nil {
		w.null("cpu")
	} else {
		w.name("cpu")
		w.open()
		w.optionalText("architecture", c.Architecture)
		w.optionalText("vendor", c.Vendor)
		w.texts("features", c.Features)
		w.close()
	}
	if n := r.Node; n == nil {
		w.null("node")
	} else {
		w.name("node")
		w.open()
		w.optionalText("owner", n.Owner)
		w.optionalText("address_regex", n.AddressRegex)
		w.optionalText("node_hash", (*string)(n.NodeHash))
		w.optionalText("terms_and_conditions", (*string)(n.TermsAndConditions))
		w.close()
	}
	if r.GPU == nil {
		w.null("gpu")
	} else {
		list(w, "gpu", r.GPU, func(g GPURequirement) {
			w.open()
			w.text("vendor", g.Vendor)
			w.text("device_name", g.DeviceName)
			w.text("device_class", g.DeviceClass)
			w.text("device_id", g.DeviceID)
			w.close()
		})
	}
	w.close()
}

func (v *Volume) encode(w *writer) {
	w.open()
	w.optionalText("comment", v.Comment)
	w.optionalText("mount", v.Mount)
	switch v.Kind {
	case VolumeImmutable:
		w.text("ref", string(v.Ref))
		w.boolean("use_latest", v.UseLatest)
	case VolumeEphemeral:
		w.boolean("ephemeral", true)
		w.integer("size_mib", v.SizeMiB)
	case VolumePersistent:
		if v.Parent == nil {
			w.null("parent")
		} else {
			v.Parent.encode(w)
		}
		if v.Parent == nil && v.Persistence == nil && v.Name == nil { // without any of them, a small volume is ephemeral
			w.name("persistence")
			w.buf = append(w.buf, "null"...)
		} else {
			w.optionalText("persistence", v.Persistence)
		}
		w.optionalText("name", v.Name)
		w.integer("size_mib", v.SizeMiB)
	}
	w.close()
}

// MarshalJSON writes the shape of the volume's kind.
func (v Volume) MarshalJSON() ([]byte, error) { return encode(&v, true) }

func (p *ParentVolume) encode(w *writer) {
	w.name("parent")
	w.open()
	w.text("ref", string(p.Ref))
	w.boolean("use_latest", p.UseLatest)
	w.close()
}

func (c *Program) encode(w *writer) {
	w.open()
	c.encodeShared(w, func() { c.Environment.encode(w) }, func() { c.encodeVolumes(w) })
	w.text("type", c.ProgramType)
	w.name("code")
	w.open()
	w.text("encoding", string(c.Code.Encoding))
	w.text("entrypoint", c.Code.Entrypoint)
	w.text("ref", string(c.Code.Ref))
	w.optionalText("interface", (*string)(c.Code.Interface))
	w.texts("args", c.Code.Args)
	w.boolean("use_latest", c.Code.UseLatest)
	w.close()
	w.name("runtime")
	w.open()
	w.text("ref", string(c.Runtime.Ref))
	w.boolean("use_latest", c.Runtime.UseLatest)
	w.text("comment", c.Runtime.Comment)
	w.close()
	if d := c.Data; d == nil {
		w.null("data")
	} else {
		w.name("data")
		w.open()
		w.text("encoding", string(d.Encoding))
		w.text("mount", d.Mount)
		w.text("ref", string(d.Ref))
		if d.UseLatest == nil { // null and absence differ here: absence is false
			w.name("use_latest")
			w.buf = append(w.buf, "null"...)
		} else {
			w.boolean("use_latest", *d.UseLatest)
		}
		w.close()
	}
	if e := c.Export; e == nil {
		w.null("export")
	} else {
		w.name("export")
		w.open()
		w.text("encoding", string(e.Encoding))
		w.text("mount", e.Mount)
		w.close()
	}
	w.name("on")
	w.open()
	w.boolean("http", c.On.HTTP)
	if c.On.Message == nil {
		w.null("message")
	} else {
		list(w, "message", c.On.Message, w.value)
	}
	w.optionalBool("persistent", c.On.Persistent)
	w.close()
	w.close()
}

func (w *writer) optionalBool(name string, v *bool) {
	if v == nil {
		w.null(name)
		return
	}
	w.boolean(name, *v)
}

func (c *Instance) encode(w *writer) {
	w.open()
	environment := c.Environment
	environment.instance = true
	c.encodeShared(w, func() { environment.encode(w) }, func() { c.encodeVolumes(w) })
	w.name("rootfs")
	w.open()
	c.Rootfs.Parent.encode(w)
	w.text("persistence", c.Rootfs.Persistence)
	w.integer("size_mib", c.Rootfs.SizeMiB)
	w.texts("forgotten_by", c.Rootfs.ForgottenBy)
	w.close()
	w.close()
}

func (c *VProgram) encode(w *writer) {
	w.open()
	c.encodeShared(w, func() {
		w.name("environment")
		w.open()
		w.boolean("internet", c.Environment.Internet)
		w.close()
	}, func() {
		list(w, "volumes", c.Verified, func(v VerifiedVolume) {
			w.open()
			v.VerifiedFile.encode(w)
			w.text("comment", v.Comment)
			w.close()
		})
	})
	w.name("runtime")
	w.open()
	w.text("ref", string(c.Runtime.Ref))
	w.text("comment", c.Runtime.Comment)
	w.close()
	w.name("workload")
	w.open()
	c.Workload.encode(w)
	w.close()
	w.name("verification")
	w.open()
	w.text("backend", c.Verification.Backend)
	w.unsigned("policy", c.Verification.Policy)
	encodeMeasurements(w, c.Verification.Measurements)
	w.close()
	w.close()
}

func (f *VerifiedFile) encode(w *writer) {
	w.text("ref", string(f.Ref))
	w.text("hash_tree", string(f.HashTree))
	w.text("roothash", f.RootHash)
}
