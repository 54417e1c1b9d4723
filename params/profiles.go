package params

// Mainnet returns the parameters of the public network (spec/ccn-core.md §4, §5, §10; spec/corechannel.md §1).
func Mainnet() *Network {
	return &Network{
		Name:         "mainnet",
		MessageTopic: "ALEPH-TEST",
		AliveTopic:   "ALIVE",
		BootstrapPeers: []string{
			"/dns/api2.aleph.im/tcp/4025/p2p/QmZkurbY2G2hWay59yiTgQNaQxHSNzKZFt2jbnwJhQcKgV",
			"/dns/api3.aleph.im/tcp/4025/p2p/Qmb5b2ZwJm9pVWrppf3D3iMF1bXbjZhbJTwGvKEBMZNxa2",
		},
		Balances: Publisher{
			Addresses: []string{"0xB34f25f2c935bCA437C061547eA12851d719dEFb", "0xa1B3bb7d2332383D96b7796B908fB7f7F3c2Be10"},
			PostTypes: []string{"balances-update"},
		},
		Credits: Publisher{
			Addresses: []string{"0x2E4454fAD1906c0Ce6e45cBFA05cE898Ac3AC1dC"},
			PostTypes: []string{"aleph_credit_distribution", "aleph_credit_transfer", "aleph_credit_expense"},
			Channels:  []string{"ALEPH_CREDIT"},
		},
		Scores: Publisher{
			Addresses: []string{"0x4D52380D3191274a04846c89c069E6C3F2Ed94e4"},
			PostTypes: []string{"aleph-network-metrics"},
			Channels:  []string{"aleph-scoring"},
		},
		Corechannel: Publisher{
			Addresses: []string{"0xa1B3bb7d2332383D96b7796B908fB7f7F3c2Be10"},
			Keys:      []string{"corechannel"},
			Channels:  []string{"FOUNDATION"},
		},
		Pricing: Publisher{
			Addresses: []string{"0xFba561a84A537fCaa567bb7A2257e7142701ae2A"},
			Keys:      []string{"pricing", "settings"},
		},
		UnmergedAggregateOwner: "0x51A58800b26AA1451aaA803d1746687cB88E0501",
		OperatorKey:            "0209fe82e08ec3c5c3ee4904fa147a11d49c7130579066c8a452d279d539959389",

		CutOffs: CutOffs{
			StorageAndProgramCost:   1743775079,
			StorageAndProgramHeight: 22196000,
			HoldAndStream:           1773187200,
			CreditOnly:              1798761600,
			CreditPrecision:         1769990400,
		},
		Prices:             defaultPrices(),
		GPUs:               defaultGPUs(),
		MaxInlineContent:   200_000,
		MaxFile:            100 << 20,
		MaxUnauthenticated: 25 << 20,
		MaxIPFSFile:        1 << 30,
		MaxCAR:             4 << 30,
		FileGracePeriod:    24 * 3600,
		RemovalGracePeriod: 25 * 3600,
		MaxRetries:         10,
		MinCreditRuntime:   86400,
		TokenDecimals:      18,
		Token: Token{
			ChainID:     1,
			Contract:    "0x27702a26126e0B3702af63Ee09aC4d1A084EF628",
			StartHeight: 10939070,
		},
		Nodes: Nodes{
			CoreThreshold:   199_999,
			StakeThreshold:  9_999,
			Activation:      499_999,
			MaxLinked:       8,
			Tag:             "mainnet",
			BlocksPerDay:    7130,
			RemovalHeight:   20_840_959,
			RemovalDays:     90,
			BonusEndHeight:  12_020_360,
			OperationType:   "corechan-operation",
			ScoresType:      "aleph-scoring-scores",
			BalancePlatform: "ETH",
		},
		Schedule: Sched{
			RequireActive: true, ProbeInterval: 10, ProbeFailures: 3, Resend: 60, ReplicaEvery: 300, ReplicaLease: 120,
			Signers: []string{"0x2937f62e5F81A88e921f883f8fE56ceCf4A4A44A"},
		},
		Streams: []StreamChain{
			{
				Chain: "AVAX", ChainID: 43114, RPC: "https://api.avax.network/ext/bc/C/rpc",
				Token: "0xc0Fbc4967259786C743361a5885ef49380473dCF", Agreement: "0x6946c5B38Ffea373b0a2340b4AEf0De8F6782e58",
				Forwarder: superfluidForwarder,
			},
			{
				Chain: "BASE", ChainID: 8453, RPC: "https://base-mainnet.public.blastapi.io",
				Token: "0xc0Fbc4967259786C743361a5885ef49380473dCF", Agreement: "0x19ba78B9cDB05A877718841c574325fdB53601bb",
				Forwarder: superfluidForwarder,
			},
		},
	}
}

// superfluidForwarder is Superfluid's CFAv1Forwarder, the same on all chains.
const superfluidForwarder = "0xcfA132E353cB4E398080B9700609bb008eceB125"

// DevnetAuthority is the address that publishes balances, credits, prices and the node registry on a devnet. It is the
// tenth of the well-known development accounts, whose private key everybody knows: never trust it on another network.
const DevnetAuthority = "0xa0Ee7A142d267C1f36714E4a8F75612F20a79720"

// Devnet returns the parameters of a network on one machine: the mainnet's rules without cut-off dates, with small
// thresholds and its own authority, so that every way to pay can be tried. Streams are on the chain of the package devnet.
func Devnet() *Network {
	n := Mainnet()
	n.Name = "devnet"
	n.MessageTopic = "ALEPH_DEVNET_TEST"
	n.AliveTopic = "ALEPH_DEVNET_ALIVE"
	n.BootstrapPeers = nil
	for _, p := range []*Publisher{&n.Balances, &n.Credits, &n.Scores, &n.Corechannel, &n.Pricing} {
		p.Addresses = []string{DevnetAuthority}
	}
	n.UnmergedAggregateOwner = ""
	n.OperatorKey = ""
	n.ExtendedPrograms = true
	n.CutOffs = CutOffs{
		StorageAndProgramCost:   0,
		StorageAndProgramHeight: 0,
		HoldAndStream:           Never,
		CreditOnly:              Never,
		CreditPrecision:         0,
	}
	n.Token = Token{ChainID: 31337}
	n.Nodes.CoreThreshold = 1_999
	n.Nodes.StakeThreshold = 99
	n.Nodes.Activation = 4_999
	n.Nodes.RemovalHeight = Never
	n.Nodes.BonusEndHeight = 0
	n.Schedule = Sched{RequireActive: false, ProbeInterval: 2, ProbeFailures: 3, Resend: 60, ReplicaEvery: 2, ReplicaLease: 10}
	n.Streams = []StreamChain{{
		Chain: "AVAX", ChainID: 31337, RPC: "http://127.0.0.1:8545", Testnet: true,
		Token: "0xA1e9400000000000000000000000000000000001", Agreement: "0xA1e9400000000000000000000000000000000003",
	}}
	return n
}

func defaultPrices() []Price {
	const storageCredit = "0.17967489030626108"
	const payg = "0.000000977"
	tiers := func() []Tier {
		var t []Tier
		for i, units := range []int64{1, 2, 4, 6, 8, 12} {
			t = append(t, Tier{ID: "tier-" + string(rune('1'+i)), ComputeUnits: units})
		}
		return t
	}
	small := &UnitShape{VCPUs: 1, MemoryMiB: 2048, DiskMiB: 2048}
	large := &UnitShape{VCPUs: 1, MemoryMiB: 2048, DiskMiB: 20480}
	gpu := &UnitShape{VCPUs: 1, MemoryMiB: 6144, DiskMiB: 61440}
	return []Price{
		{Product: ProductStorage, Storage: Amounts{Holding: "0.333333333", Credit: storageCredit}},
		{
			Product: "web3_hosting", Fixed: "50",
			Storage: Amounts{Holding: "0.333333333", Credit: storageCredit},
		},
		{
			Product: ProductProgram, Unit: small, Tiers: tiers(),
			Storage:     Amounts{Holding: "0.05", PAYG: payg, Credit: "0.977"},
			ComputeUnit: &Amounts{Holding: "200", PAYG: "0.011", Credit: "11000"},
		},
		{
			Product: ProductProgramPersistent, Unit: large, Tiers: tiers(),
			Storage:     Amounts{Holding: "0.05", PAYG: payg, Credit: "0.977"},
			ComputeUnit: &Amounts{Holding: "1000", PAYG: "0.055", Credit: "55000"},
		},
		{
			Product: ProductInstance, Unit: large, Tiers: tiers(),
			Storage:     Amounts{Holding: "0.05", PAYG: payg, Credit: storageCredit},
			ComputeUnit: &Amounts{Holding: "1000", PAYG: "0.055", Credit: "14250"},
		},
		{
			Product: ProductInstanceConfidential, Unit: large, Tiers: tiers(),
			Storage:     Amounts{Holding: "0.05", PAYG: payg, Credit: storageCredit},
			ComputeUnit: &Amounts{Holding: "2000", PAYG: "0.11", Credit: "28500"},
		},
		{
			Product: ProductGPUStandard, Unit: gpu,
			Storage:     Amounts{PAYG: payg, Credit: storageCredit},
			ComputeUnit: &Amounts{Holding: "280", PAYG: "0.28", Credit: "43125"},
			Tiers: []Tier{
				{ID: "tier-1", ComputeUnits: 3, Model: "RTX 4000 ADA", VRAM: 20480},
				{ID: "tier-2", ComputeUnits: 4, Model: "RTX 3090", VRAM: 24576},
				{ID: "tier-3", ComputeUnits: 6, Model: "RTX 4090", VRAM: 24576},
				{ID: "tier-4", ComputeUnits: 12, Model: "L40S", VRAM: 49152},
			},
		},
		{
			Product: ProductGPUPremium, Unit: gpu,
			Storage:     Amounts{PAYG: payg, Credit: storageCredit},
			ComputeUnit: &Amounts{Holding: "560", PAYG: "0.56", Credit: "86250"},
			Tiers: []Tier{
				{ID: "tier-1", ComputeUnits: 16, Model: "A100", VRAM: 81920},
				{ID: "tier-2", ComputeUnits: 24, Model: "H100", VRAM: 81920},
			},
		},
	}
}

// defaultGPUs lists devices in the order in which they are looked up: the first match names the model.
func defaultGPUs() []GPU {
	return []GPU{
		{"L40S", "10de:26b9"},
		{"RTX 5090", "10de:2685"}, {"RTX 5090", "10de:2687"},
		{"RTX 4090", "10de:2684"},
		{"RTX 3090", "10de:2204"}, {"RTX 3090", "10de:2203"},
		{"RTX 4000 ADA", "10de:27b0"}, {"RTX 4000 ADA", "10de:27b2"},
		{"H100", "10de:2336"}, {"H100", "10de:22a3"}, {"H100", "10de:2313"}, {"H100", "10de:2330"}, {"H100", "10de:2331"},
		{"A100", "10de:2080"}, {"A100", "10de:2081"}, {"A100", "10de:20b2"}, {"A100", "10de:20b5"}, {"A100", "10de:20b8"},
	}
}
