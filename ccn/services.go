package ccn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/ethclient"

	"github.com/aleph-im/aleph-go/ccn/anchor"
	"github.com/aleph-im/aleph-go/ccn/authority"
	"github.com/aleph-im/aleph-go/ccn/catchup"
	"github.com/aleph-im/aleph-go/ccn/intake"
	"github.com/aleph-im/aleph-go/ccn/schedule"
	"github.com/aleph-im/aleph-go/ccn/state"
	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/ccn/upkeep"
	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature"
)

// devnetPoll is how often a chain on the same machine is asked for new blocks.
const devnetPoll = 500 * time.Millisecond

// addServices adds what reads applied messages and publishes of its own: the scheduler, and with the network's key the
// balances and the registry.
func (n *Node) addServices() error {
	cfg := schedule.Config{Params: n.cfg.Params, Store: n.store, Logger: n.cfg.Logger.With("part", "schedule")}
	if n.cfg.Account != nil && n.cfg.Role != RoleAPI {
		cfg.Signer = n.cfg.Account
		cfg.Publish = n.author(n.cfg.Account).Aggregate
	}
	scheduler, err := schedule.New(cfg)
	if err != nil {
		return err
	}
	n.scheduler = scheduler
	n.services = append(n.services, service{"schedule", scheduler.Run})
	watchers := []watcher{{n.movesPlan, scheduler.Notify}}
	if n.cfg.Authority != nil && n.cfg.Role != RoleAPI {
		author := n.author(n.cfg.Authority)
		registry, err := authority.New(authority.Config{
			Params: n.cfg.Params, Store: n.store, Author: author, Logger: n.cfg.Logger.With("part", "registry"),
		})
		if err != nil {
			return err
		}
		n.services = append(n.services, service{"registry", registry.Run})
		watchers = append(watchers, watcher{n.movesRegistry, registry.Notify})
		if n.cfg.EthereumRPC != "" {
			if err := n.addBalances(author); err != nil {
				return err
			}
		}
	}
	if len(n.cfg.HTTPPeers) > 0 && n.cfg.Role != RoleAPI {
		n.services = append(n.services, service{"catchup", n.catchUp().Run})
	}
	n.services = append(n.services, service{"watchers", func(ctx context.Context) error { return n.tell(ctx, watchers) }})
	return nil
}

// addUpkeep adds what time alone asks for, where messages are applied.
func (n *Node) addUpkeep(decides *state.State) error {
	if n.cfg.Role == RoleAPI {
		return nil
	}
	keeper, err := upkeep.New(upkeep.Config{
		Store: n.store, State: decides, Files: n.files, Logger: n.cfg.Logger.With("part", "upkeep"),
		Collect: func(ctx context.Context, before time.Time) error {
			_, _, err := n.ipfs.Collect(ctx, before)
			return errors.Join(err, n.uploads.Sweep())
		},
	})
	if err != nil {
		return err
	}
	n.services = append(n.services, service{"upkeep", keeper.Run})
	return nil
}

// author publishes in the name of account through this node.
func (n *Node) author(account signature.Account) *authority.Author {
	return &authority.Author{
		Account:   account,
		Channel:   n.cfg.Params.Corechannel.Channels[0],
		MaxInline: n.cfg.Params.MaxInlineContent,
		Submit:    n.submitOwn,
		PutFile: func(ctx context.Context, content []byte) (message.Hash, error) {
			hash, _, err := n.files.Put(ctx, bytes.NewReader(content), int64(len(content)))
			return hash, err
		},
	}
}

func (n *Node) addBalances(author *authority.Author) error {
	chain, err := ethclient.Dial(n.cfg.EthereumRPC)
	if err != nil {
		return fmt.Errorf("connect to the Ethereum node %s: %w", n.cfg.EthereumRPC, err)
	}
	token := n.cfg.Params.Token
	cfg := anchor.Config{
		Chain:       chain,
		Token:       common.HexToAddress(token.Contract),
		ChainID:     token.ChainID,
		StartHeight: uint64(token.StartHeight),
		State:       authority.Cursor{Store: n.store, Key: "balances/" + token.Contract},
		Publish: func(ctx context.Context, content any) error {
			return author.Post(ctx, n.cfg.Params.Balances.PostTypes[0], "", content)
		},
		Logger: n.cfg.Logger.With("part", "balances"),
	}
	if n.cfg.Params.Name == "devnet" {
		cfg.Poll = devnetPoll
	}
	feed, err := anchor.New(cfg)
	if err != nil {
		return err
	}
	n.chain = feed
	n.services = append(n.services, service{"balances", feed.Run})
	return nil
}

func (n *Node) catchUp() *catchup.Service {
	return catchup.New(catchup.Config{
		Peers: n.cfg.HTTPPeers,
		Statuses: func(ctx context.Context, list []message.Hash) ([]message.Status, error) {
			statuses := make([]message.Status, len(list))
			err := n.store.Read(ctx, func(r *store.Reader) (err error) {
				for i, h := range list {
					if statuses[i], _, err = r.Status(h); err != nil {
						return err
					}
				}
				return nil
			})
			return statuses, err
		},
		Submit: func(ctx context.Context, envelope []byte) error {
			_, err := n.intake.Submit(ctx, envelope, intake.OriginP2P)
			return err
		},
		Logger: n.cfg.Logger.With("part", "catchup"),
	})
}

// watcher is a service that looks again when a message was applied on which its work depends.
type watcher struct {
	concerned func(*intake.Event) bool
	notify    func()
}

// tell follows what intake applies and notifies the watchers that it concerns; all of them, when events were lost.
func (n *Node) tell(ctx context.Context, watchers []watcher) error {
	concerns := func(w watcher, e *intake.Event) bool {
		return e.Missed > 0 || e.Status == message.StatusProcessed && e.Content != nil && w.concerned(e)
	}
	events, cancel := n.intake.Subscribe(4096, func(e *intake.Event) bool {
		return slices.ContainsFunc(watchers, func(w watcher) bool { return concerns(w, e) })
	})
	defer cancel()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, open := <-events:
			if !open {
				return nil
			}
			for _, w := range watchers {
				if concerns(w, &e) {
					w.notify()
				}
			}
		}
	}
}

// movesPlan says whether the plan may be another after an event. Most that is forgotten are posts and files, which are in no plan:
// to compute it for them would have the store commit what it still gathers.
func (n *Node) movesPlan(e *intake.Event) bool {
	if slices.ContainsFunc(e.Ended, inPlan) {
		return true
	}
	switch c := e.Content.(type) {
	case *message.Program, *message.Instance:
		return true
	case *message.Forget:
		return n.store.Shared()
	case *message.Aggregate:
		return c.Key == schedule.StatusKey || c.Key == schedule.HomesKey || c.Key == schedule.WishesKey || c.Key == schedule.DrainingKey ||
			slices.Contains(n.cfg.Params.Corechannel.Keys, c.Key)
	}
	return false
}

// inPlan says whether messages of a type are what the plan is computed from.
func inPlan(t message.Type) bool {
	return t == message.TypeProgram || t == message.TypeInstance || t == message.TypeAggregate
}

func (n *Node) movesRegistry(e *intake.Event) bool {
	post, ok := e.Content.(*message.Post)
	return ok && (post.PostType == n.cfg.Params.Nodes.OperationType || post.PostType == message.PostTypeAmend ||
		slices.Contains(n.cfg.Params.Balances.PostTypes, post.PostType))
}
