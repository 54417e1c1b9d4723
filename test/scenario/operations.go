package scenario

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/message"
)

// operation does what a step asks for. Its result becomes JSON, with the members that README.md names.
type operation func(ctx context.Context, r *runner, by client.Account, arguments json.RawMessage) (any, error)

// with makes an operation of a function that takes its arguments as a struct.
func with[T any](do func(ctx context.Context, r *runner, by client.Account, a T) (any, error)) operation {
	return func(ctx context.Context, r *runner, by client.Account, arguments json.RawMessage) (any, error) {
		var a T
		d := json.NewDecoder(bytes.NewReader(arguments))
		d.DisallowUnknownFields()
		if err := d.Decode(&a); err != nil {
			return nil, fmt.Errorf("arguments: %w", err)
		}
		return do(ctx, r, by, a)
	}
}

var operations = map[string]operation{
	"file.upload": with(uploadFile), "file.pin": with(pinFile), "file.download": with(downloadFile), "file.list": with(listFiles),
	"post.create": with(createPost), "post.amend": with(amendPost), "post.get": with(getPost),
	"aggregate.set": with(setAggregate), "aggregate.get": with(getAggregate),
	"authorization.grant": with(grant), "authorization.revoke": with(revoke), "authorization.list": with(listGrants),
	"message.get": with(getMessage), "message.list": with(listMessages), "message.forget": with(forget),
	"watch.open": with(openWatch), "watch.next": with(nextMessage), "watch.close": with(closeWatch),
	"price.estimate": with(estimatePrice), "price.of": with(getPrice), "balance.get": with(getBalance), "credit.history": with(listCredits),
	"program.deploy": with(deployProgram), "program.call": with(callProgram), "instance.create": with(createInstance),
	"machine.where": with(findMachine), "machine.execution": with(getExecution), "machine.greeting": with(greet),
	"machine.operate": with(operateMachine), "port.open": with(openPorts), "port.list": with(listPorts),
	"domain.attach": with(attachDomain), "domain.list": with(listDomains), "domain.detach": with(detachDomain),
}

// describe is an error as the scenario names it.
func describe(err error) any {
	var rejected *client.RejectedError
	kind := map[string]any{"kind": "other"}
	if errors.As(err, &rejected) {
		kind["code"] = float64(rejected.Code)
	}
	switch k := client.KindOf(err); k {
	case client.KindNotFound, client.KindRejected, client.KindInsufficientFunds, client.KindNotAllowed:
		kind["kind"] = string(k)
	}
	return kind
}

// sent is the result of an operation that publishes a message.
type sent struct {
	Hash   message.Hash   `json:"item_hash"`
	Status message.Status `json:"status"`
}

func published(s *client.Sent, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return sent{s.Hash, s.Status}, nil
}

// options are those of every message of the scenario.
func (r *runner) options() client.SendOptions {
	return client.SendOptions{Channel: r.variables["channel"].(string), Sync: true}
}

func (r *runner) onBehalfOf(address string) client.SendOptions {
	o := r.options()
	o.Address = address
	return o
}

// collect reads a list to its end.
func collect[T any](list iter.Seq2[T, error]) ([]T, error) {
	all := []T{}
	for item, err := range list {
		if err != nil {
			return nil, err
		}
		all = append(all, item)
	}
	return all, nil
}

type uploadArguments struct {
	Text    string
	Engine  message.ItemType
	Payment message.PaymentType
}

func uploadFile(ctx context.Context, r *runner, by client.Account, a uploadArguments) (any, error) {
	o := client.UploadOptions{Channel: r.options().Channel, Sync: true, Engine: a.Engine}
	if a.Payment != "" {
		o.Payment = &message.Payment{Chain: new(string(by.Chain())), Type: a.Payment}
	}
	up, err := r.api.UploadFile(ctx, by, strings.NewReader(a.Text), o)
	if err != nil {
		return nil, err
	}
	return struct {
		sent
		File message.Hash `json:"file_hash"`
	}{sent{up.MessageHash, up.Status}, up.FileHash}, nil
}

type fileArguments struct {
	File message.Hash `json:"file_hash"`
}

func pinFile(ctx context.Context, r *runner, by client.Account, a fileArguments) (any, error) {
	return published(r.api.Pin(ctx, by, a.File, nil, r.options()))
}

func downloadFile(ctx context.Context, r *runner, _ client.Account, a fileArguments) (any, error) {
	var b strings.Builder
	_, err := r.api.DownloadFile(ctx, a.File, &b)
	return map[string]string{"text": b.String()}, err
}

type addressArgument struct{ Address string }

func listFiles(ctx context.Context, r *runner, _ client.Account, a addressArgument) (any, error) {
	files, err := collect(r.api.Files(ctx, a.Address))
	return map[string]any{"files": files}, err
}

type postArguments struct {
	Type    string
	Content json.RawMessage
	Address string
}

func createPost(ctx context.Context, r *runner, by client.Account, a postArguments) (any, error) {
	return published(r.api.SendPost(ctx, by, a.Type, "", a.Content, r.onBehalfOf(a.Address)))
}

type amendArguments struct {
	Original message.Hash
	Content  json.RawMessage
}

func amendPost(ctx context.Context, r *runner, by client.Account, a amendArguments) (any, error) {
	return published(r.api.AmendPost(ctx, by, a.Original, a.Content, r.options()))
}

func getPost(ctx context.Context, r *runner, _ client.Account, a struct{ Original message.Hash }) (any, error) {
	return r.api.Post(ctx, a.Original)
}

type aggregateArguments struct {
	Address, Key string
	Content      json.RawMessage
}

func setAggregate(ctx context.Context, r *runner, by client.Account, a aggregateArguments) (any, error) {
	return published(r.api.SetAggregate(ctx, by, a.Key, a.Content, r.onBehalfOf(a.Address)))
}

func getAggregate(ctx context.Context, r *runner, _ client.Account, a struct{ Address, Key string }) (any, error) {
	var content json.RawMessage
	err := r.api.Aggregate(ctx, a.Address, a.Key, &content)
	return map[string]any{"content": content}, err
}

type grantArguments struct {
	Address   string
	Types     []message.Type
	PostTypes []string `json:"post_types"`
}

func grant(ctx context.Context, r *runner, by client.Account, a grantArguments) (any, error) {
	return published(r.api.Grant(ctx, by, client.Grant{Address: a.Address, Types: a.Types, PostTypes: a.PostTypes}, r.options()))
}

func revoke(ctx context.Context, r *runner, by client.Account, a addressArgument) (any, error) {
	return published(r.api.Revoke(ctx, by, a.Address, r.options()))
}

func listGrants(ctx context.Context, r *runner, _ client.Account, a addressArgument) (any, error) {
	grants, err := collect(r.api.Granted(ctx, a.Address))
	return map[string]any{"authorizations": grants}, err
}

type hashArgument struct {
	Hash message.Hash `json:"item_hash"`
}

func getMessage(ctx context.Context, r *runner, _ client.Account, a hashArgument) (any, error) {
	info, err := r.api.GetMessage(ctx, a.Hash)
	if err != nil {
		return nil, err
	}
	result := map[string]any{"status": info.Status, "forgotten_by": info.ForgottenBy}
	if info.Message != nil {
		result["type"], result["sender"] = info.Message.Type, info.Message.Sender
	}
	return result, nil
}

type filterArguments struct {
	Channels, Addresses []string
	Types               []message.Type
}

func (a filterArguments) filter() client.Filter {
	return client.Filter{Channels: a.Channels, Addresses: a.Addresses, Types: a.Types}
}

func listMessages(ctx context.Context, r *runner, _ client.Account, a filterArguments) (any, error) {
	hashes := []message.Hash{}
	for m, err := range r.api.Messages(ctx, a.filter()) {
		if err != nil {
			return nil, err
		}
		hashes = append(hashes, m.ItemHash)
	}
	return map[string]any{"item_hashes": hashes}, nil
}

type forgetArguments struct {
	Hashes []message.Hash `json:"item_hashes"`
	Reason string
}

func forget(ctx context.Context, r *runner, by client.Account, a forgetArguments) (any, error) {
	return published(r.api.Forget(ctx, by, a.Hashes, a.Reason, r.options()))
}

type estimateArguments struct {
	Type    message.Type
	Content map[string]any
}

func estimatePrice(ctx context.Context, r *runner, by client.Account, a estimateArguments) (any, error) {
	a.Content["address"], a.Content["time"] = by.Address(), 0
	content, err := json.Marshal(a.Content)
	if err != nil {
		return nil, err
	}
	return r.api.EstimatePrice(ctx, by.Address(), by.Chain(), a.Type, content)
}

func getPrice(ctx context.Context, r *runner, _ client.Account, a hashArgument) (any, error) {
	return r.api.Price(ctx, a.Hash)
}

func getBalance(ctx context.Context, r *runner, _ client.Account, a addressArgument) (any, error) {
	b, err := r.api.Balance(ctx, a.Address)
	if err != nil {
		return nil, err
	}
	return map[string]any{"balance": b.Balance, "locked_amount": b.Locked, "credit_balance": b.Credits}, nil
}

func listCredits(ctx context.Context, r *runner, _ client.Account, a addressArgument) (any, error) {
	entries, err := collect(r.api.CreditHistory(ctx, a.Address))
	return map[string]any{"entries": entries}, err
}
