package message

import (
	"encoding/json"
	"slices"
)

func (o object) program() *Program {
	p := &Program{Executable: o.executable()}
	p.Environment = required(o, "environment", readFunctionEnvironment)
	p.Volumes = withDefault(o, "volumes", []Volume{}, readList(maxEntries, readVolume))
	p.ProgramType = required(o, "type", readOneOf("vm-function"))
	p.Code = required(o, "code", readCode)
	p.Runtime = required(o, "runtime", readRuntime)
	p.Data = optional(o, "data", readData)
	p.Export = optional(o, "export", readExport)
	p.On = required(o, "on", readHook)
	o.onlyExecutable("type", "code", "runtime", "data", "export", "on")
	return p
}

// estimatedSize reads the size of a file that is not there yet, in a price estimate.
func (o object) estimatedSize() *int64 {
	if !o.relaxed {
		return nil
	}
	return optional(o, "estimated_size_mib", readInt(0, 1<<53))
}

func readEncoding(d *decoder, i int32) Encoding {
	return readOneOf(EncodingPlain, EncodingZip, EncodingSquashfs)(d, i)
}

// orOurs accepts what read does, and values that only this implementation knows. A refusal names those of the protocol alone.
func orOurs[T ~string](read reader[T], ours ...T) reader[T] {
	return func(d *decoder, i int32) T {
		if d.nodes[i].kind == kindString {
			if s := T(d.str(i)); slices.Contains(ours, s) {
				return s
			}
		}
		return read(d, i)
	}
}

func readCode(d *decoder, i int32) (c Code) {
	o, ok := d.readObject(i)
	if !ok {
		return c
	}
	c.Encoding = required(o, "encoding", orOurs(readEncoding, EncodingTar, EncodingTarGzip))
	c.Entrypoint = required(o, "entrypoint", readText)
	c.Ref = required(o, "ref", readHash)
	c.Interface = optional(o, "interface", orOurs(readOneOf(InterfaceASGI, InterfaceBinary), InterfaceWasm))
	c.Args = optionalZero(o, "args", readList(noLimit, readText))
	c.UseLatest = withDefault(o, "use_latest", false, readBool)
	c.EstimatedSizeMiB = o.estimatedSize()
	return c
}

func readRuntime(d *decoder, i int32) (r Runtime) {
	o, ok := d.readObject(i)
	if !ok {
		return r
	}
	r.Ref = required(o, "ref", readHash)
	r.UseLatest = withDefault(o, "use_latest", true, readBool)
	r.Comment = required(o, "comment", readText)
	r.EstimatedSizeMiB = o.estimatedSize()
	return r
}

func readData(d *decoder, i int32) (data Data) {
	o, ok := d.readObject(i)
	if !ok {
		return data
	}
	data.Encoding = required(o, "encoding", orOurs(readEncoding, EncodingTar, EncodingTarGzip))
	data.Mount = required(o, "mount", readText)
	data.Ref = required(o, "ref", readHash)
	data.UseLatest = new(bool)
	if o.has("use_latest") {
		data.UseLatest = optional(o, "use_latest", readBool)
	}
	data.EstimatedSizeMiB = o.estimatedSize()
	return data
}

func readExport(d *decoder, i int32) (e Export) {
	o, ok := d.readObject(i)
	if !ok {
		return e
	}
	e.Encoding = required(o, "encoding", readEncoding)
	e.Mount = required(o, "mount", readText)
	return e
}

func readHook(d *decoder, i int32) (h ProgramHook) {
	o, ok := d.readObject(i)
	if !ok {
		return h
	}
	h.HTTP = required(o, "http", readBool)
	h.Message = optionalZero(o, "message", readList(noLimit, readSubscription))
	h.Persistent = optional(o, "persistent", readBool)
	o.only("http", "message", "persistent")
	return h
}

func readSubscription(d *decoder, i int32) json.RawMessage {
	if _, ok := d.readObject(i); !ok {
		return nil
	}
	if d.size(i) > 32 {
		d.fail(i, "", "value_error", "Value error, a subscription should have at most 32 members")
	}
	return readRaw(d, i)
}
