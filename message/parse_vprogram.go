package message

// vprogram reads a verifiable program at the schema revision of spec/messages.md §5.8.
func (o object) vprogram() *VProgram {
	v := &VProgram{Executable: o.executable()}
	payment := required(o, "payment", readPayment)
	v.Payment = &payment
	v.Environment = required(o, "environment", func(d *decoder, i int32) (e Environment) {
		if o, ok := d.readObject(i); ok {
			e.Internet = withDefault(o, "internet", false, readBool)
			o.only("internet")
		}
		return e
	})
	v.Verified = withDefault(o, "volumes", []VerifiedVolume{}, readList(8, readVerifiedVolume))
	v.Runtime = required(o, "runtime", func(d *decoder, i int32) (r VerifiedRuntime) {
		if o, ok := d.readObject(i); ok {
			r.Ref = required(o, "ref", readHash)
			r.Comment = withDefault(o, "comment", "", readTextMax(1024))
			o.only("ref", "comment")
		}
		return r
	})
	v.Workload = required(o, "workload", func(d *decoder, i int32) (f VerifiedFile) {
		if o, ok := d.readObject(i); ok {
			f = o.verifiedFile()
			o.only("ref", "hash_tree", "roothash")
		}
		return f
	})
	v.Verification = required(o, "verification", readVerification)
	o.onlyExecutable("runtime", "workload", "verification")
	if len(o.errs) > 0 {
		return v
	}
	switch {
	case v.Payment.Type != PaymentCredit:
		o.whole("verifiable programs are paid for by 'credit' only")
	case len(v.Variables) > 0:
		o.whole("verifiable programs take no variables: they would escape verification")
	case len(v.AuthorizedKeys) > 0:
		o.whole("verifiable programs take no authorized_keys: they would escape verification")
	}
	return v
}

func (o object) verifiedFile() VerifiedFile {
	return VerifiedFile{
		Ref:      required(o, "ref", readHash),
		HashTree: required(o, "hash_tree", readHash),
		RootHash: required(o, "roothash", readRootHash),
	}
}

func readRootHash(d *decoder, i int32) string {
	s := readHex(d, i)
	if s != "" && len(s) != 64 {
		d.fail(i, "", "string_pattern_mismatch", "String should be 64 lower-case hex digits")
	}
	return s
}

func readVerifiedVolume(d *decoder, i int32) (v VerifiedVolume) {
	o, ok := d.readObject(i)
	if !ok {
		return v
	}
	v.VerifiedFile = o.verifiedFile()
	v.Comment = withDefault(o, "comment", "", readTextMax(1024))
	o.only("ref", "hash_tree", "roothash", "comment")
	return v
}

func readVerification(d *decoder, i int32) (v Verification) {
	o, ok := d.readObject(i)
	if !ok {
		return v
	}
	complaints := len(d.errs)
	v.Backend = required(o, "backend", readOneOf("sev_snp"))
	v.Policy = withDefault(o, "policy", defaultSNPPolicy, readUint64)
	v.Measurements = required(o, "measurements", readMeasurements)
	o.only("backend", "policy", "measurements")
	if len(d.errs) == complaints && v.Policy&snpReservedOne == 0 {
		d.fail(i, "", "value_error", "Value error, bit 17 of an SNP policy must be set")
	}
	return v
}
