package message

import "encoding/json"

// readUnixTime reads the time of a content; the bounds are inclusive.
func readUnixTime(d *decoder, i int32) float64 { return readFloat(0, 9223372036)(d, i) }

// baseContent reads what every content has.
func (o object) baseContent() BaseContent {
	switch {
	case o.draft:
		return BaseContent{
			Address: required(o, "address", readText),
			Time:    withDefault(o, "time", 0, readUnixTime),
		}
	case o.base == nil:
		return BaseContent{
			Address: required(o, "address", readText),
			Time:    required(o, "time", readUnixTime),
		}
	}
	b := *o.base
	if address := optional(o, "address", readText); address != nil {
		b.Address = *address
	}
	if t := optional(o, "time", readUnixTime); t != nil {
		b.Time = *t
	}
	return b
}

func (o object) post() *Post {
	p := &Post{
		BaseContent: o.baseContent(),
		PostType:    required(o, "type", readText),
		Content:     optionalZero(o, "content", readRaw),
	}
	if i := o.find(o.at, "ref"); i >= 0 {
		switch o.nodes[i].kind {
		case kindNull:
		case kindObject:
			ref := object{o.decoder, i}.postReference()
			p.Ref = string(ref.hash)
			p.RefObject = ref.json
		default:
			p.Ref = readText(o.decoder, i)
		}
	}
	o.only("address", "time", "content", "ref", "type")
	if i := o.find(o.at, "type"); i >= 0 && p.PostType == PostTypeAmend && p.Ref == "" && len(o.errs) == 0 {
		o.fail(i, "", "value_error", "Value error, a post of type 'amend' needs the hash of the original in ref")
	}
	return p
}

// reference is the legacy form of a post's ref: the referenced message itself.
type reference struct {
	hash Hash
	json json.RawMessage // normalised
}

func (o object) postReference() reference {
	chain := required(o, "chain", readChain)
	channel := optional(o, "channel", readTextMax(128))
	itemContent := required(o, "item_content", readText)
	hash := required(o, "item_hash", readHash)
	itemType := required(o, "item_type", readOneOf(ItemInline, ItemStorage, ItemIPFS))
	sender := required(o, "sender", readText)
	signature := required(o, "signature", readText)
	seconds := required(o, "time", readFloat(-1e308, 1e308))
	kind := withDefault(o, "type", TypePost, readOneOf(TypePost))

	w := writer{nulls: true}
	w.open()
	w.text("chain", string(chain))
	w.optionalText("channel", channel)
	w.text("item_content", itemContent)
	w.text("item_hash", string(hash))
	w.text("item_type", string(itemType))
	w.text("sender", sender)
	w.text("signature", signature)
	w.float("time", seconds)
	w.text("type", string(kind))
	w.close()
	return reference{hash: hash, json: w.buf}
}

func (o object) aggregate() *Aggregate {
	a := &Aggregate{BaseContent: o.baseContent()}
	if i := o.find(o.at, "key"); i >= 0 && o.nodes[i].kind == kindObject {
		key := object{o.decoder, i}
		a.keyName = required(key, "name", readText)
		key.only("name")
		// The reference node keys such aggregates by the printed form of the object.
		a.Key, a.KeyObject = "name="+pythonQuote(a.keyName), true
	} else {
		a.Key = required(o, "key", readText)
	}
	a.Content = required(o, "content", readDict(-1))
	o.only("address", "time", "key", "content")
	return a
}

func (o object) store() *Store {
	s := &Store{
		BaseContent: o.baseContent(),
		FileType:    required(o, "item_type", readOneOf(ItemInline, ItemStorage, ItemIPFS)),
		FileHash:    required(o, "item_hash", readHash),
		Ref:         optionalZero(o, "ref", readText),
		Metadata:    optionalZero(o, "metadata", readDict(-1)),
		Payment:     optional(o, "payment", readPayment),
		Size:        optional(o, "size", readInt(-1<<63, 1<<63-1)),
		ContentType: optional(o, "content_type", readText),
	}
	if o.relaxed {
		s.EstimatedSizeMiB = optional(o, "estimated_size_mib", readFloat(0, 1e15))
	}
	if s.Payment != nil && s.Payment.Type == PaymentSuperfluid {
		o.fail(o.find(o.at, "payment"), "", "value_error", "Value error, files are paid for by 'hold' or 'credit'")
	}
	return s
}

func readPayment(d *decoder, i int32) (p Payment) {
	o, ok := d.readObject(i)
	if !ok {
		return p
	}
	if chain := optional(o, "chain", readChain); chain != nil {
		p.Chain = (*string)(chain)
	}
	p.Receiver = optional(o, "receiver", readText)
	p.Type = required(o, "type", readOneOf(PaymentHold, PaymentSuperfluid, PaymentCredit))
	return p
}

const maxForgetTargets = 1000

func (o object) forget() *Forget {
	f := &Forget{
		BaseContent: o.baseContent(),
		Hashes:      required(o, "hashes", readList(maxForgetTargets, readHash)),
		Aggregates:  withDefault(o, "aggregates", []Hash{}, readList(maxForgetTargets, readHash)),
		Reason:      optional(o, "reason", readTextMax(1000)),
	}
	o.only("address", "time", "hashes", "aggregates", "reason")
	return f
}
