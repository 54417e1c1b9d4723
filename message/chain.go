package message

import "slices"

// Chain is the code of the blockchain whose wallet signed a message.
type Chain string

const (
	ChainARB       Chain = "ARB"
	ChainAURORA    Chain = "AURORA"
	ChainAVAX      Chain = "AVAX"
	ChainBASE      Chain = "BASE"
	ChainBLAST     Chain = "BLAST"
	ChainBOB       Chain = "BOB"
	ChainBSC       Chain = "BSC"
	ChainCSDK      Chain = "CSDK"
	ChainCYBER     Chain = "CYBER"
	ChainDOT       Chain = "DOT"
	ChainES        Chain = "ES"
	ChainETH       Chain = "ETH"
	ChainETHERLINK Chain = "ETHERLINK"
	ChainFRAX      Chain = "FRAX"
	ChainHYPE      Chain = "HYPE"
	ChainINK       Chain = "INK"
	ChainLENS      Chain = "LENS"
	ChainLINEA     Chain = "LINEA"
	ChainLISK      Chain = "LISK"
	ChainMETIS     Chain = "METIS"
	ChainMODE      Chain = "MODE"
	ChainNEO       Chain = "NEO"
	ChainNULS      Chain = "NULS"
	ChainNULS2     Chain = "NULS2"
	ChainOP        Chain = "OP"
	ChainPOL       Chain = "POL"
	ChainSOL       Chain = "SOL"
	ChainSTT       Chain = "STT"
	ChainSONIC     Chain = "SONIC"
	ChainTEZOS     Chain = "TEZOS"
	ChainUNICHAIN  Chain = "UNICHAIN"
	ChainWLD       Chain = "WLD"
	ChainZORA      Chain = "ZORA"
)

// Chains lists every chain code that parses, in alphabetical order. A chain may parse and have no verifier (spec/messages.md §3).
func Chains() []Chain { return slices.Clone(chains) }

var chains = []Chain{
	ChainARB, ChainAURORA, ChainAVAX, ChainBASE, ChainBLAST, ChainBOB, ChainBSC, ChainCSDK, ChainCYBER, ChainDOT, ChainES,
	ChainETH, ChainETHERLINK, ChainFRAX, ChainHYPE, ChainINK, ChainLENS, ChainLINEA, ChainLISK, ChainMETIS, ChainMODE,
	ChainNEO, ChainNULS, ChainNULS2, ChainOP, ChainPOL, ChainSOL, ChainSTT, ChainSONIC, ChainTEZOS, ChainUNICHAIN,
	ChainWLD, ChainZORA,
}
