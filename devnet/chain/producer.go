package chain

import (
	"sync"

	"github.com/ethereum/go-ethereum/core"
	"github.com/ethereum/go-ethereum/eth"
	"github.com/ethereum/go-ethereum/eth/catalyst"
)

// producer makes a block as soon as the pool holds a transaction. It is the library's own but for its end: that one goes on
// while the database closes under it, which ends the process.
type producer struct {
	backend *eth.Ethereum
	beacon  *catalyst.SimulatedBeacon
	stopped chan struct{}
	work    sync.WaitGroup
}

// Start begins to make blocks.
func (p *producer) Start() error {
	added := make(chan core.NewTxsEvent)
	sub := p.backend.TxPool().SubscribeTransactions(added, true)
	due := make(chan struct{}, 1)
	// Two, because the pool waits for its listeners, and making a block waits for the pool.
	p.work.Go(func() {
		defer close(due)
		defer sub.Unsubscribe()
		for {
			select {
			case <-added:
				select {
				case due <- struct{}{}:
				default:
				}
			case <-p.stopped:
				return
			}
		}
	})
	p.work.Go(func() {
		for range due {
			p.produce()
		}
	})
	return nil
}

// produce makes blocks until the pool has nothing for them.
func (p *producer) produce() {
	for {
		select {
		case <-p.stopped:
			return
		default:
		}
		if err := p.backend.TxPool().Sync(); err != nil {
			return
		}
		if executable, _ := p.backend.TxPool().Stats(); executable == 0 {
			return
		}
		if before := p.backend.BlockChain().CurrentBlock().Hash(); p.beacon.Commit() == before {
			return // it failed; the next transaction tries again
		}
	}
}

// Stop waits for the block that is being made.
func (p *producer) Stop() error {
	close(p.stopped)
	p.work.Wait()
	return nil
}
