package api

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/aleph-im/aleph-go/crn/execution"
	"github.com/aleph-im/aleph-go/message"
)

// allocate answers POST /control/allocations: the scheduler's whole plan for this node (spec/crn.md §2.6.1).
func (s *Server) allocate(w http.ResponseWriter, r *http.Request) {
	order, err := io.ReadAll(io.LimitReader(r.Body, maxAllocation+1))
	if err != nil || !s.allocated.allows(r, order) {
		fail(w, http.StatusUnauthorized, "Authentication token received is invalid")
		return
	}
	plan, problems, err := parsePlan(order)
	if err != nil {
		fail(w, http.StatusBadRequest, "Body is not valid JSON: "+err.Error())
		return
	}
	if len(problems) > 0 {
		answer(w, http.StatusBadRequest, problems)
		return
	}
	outcome, refused := s.carryOut(r.Context(), plan)
	texts := map[message.Hash]string{}
	for hash, err := range outcome.Errors {
		texts[hash] = err.Error()
	}
	status := http.StatusOK
	if len(outcome.Failing) > 0 {
		status = http.StatusMultiStatus
		if len(outcome.Successful) == 0 {
			status = http.StatusServiceUnavailable
		}
	}
	body := map[string]any{
		"success": len(outcome.Failing) == 0, "successful": list(outcome.Successful), "failing": list(outcome.Failing),
		"stopped": list(outcome.Stopped), "errors": texts,
	}
	if len(refused) > 0 {
		body["refused"] = refused // ours: of those failing, what is not worth sending again
	}
	answer(w, status, body)
}

// list makes nil an empty array in JSON.
func list(hashes []message.Hash) []message.Hash {
	if hashes == nil {
		return []message.Hash{}
	}
	return hashes
}

// problem is one error of validation, in the form of the reference.
type problem struct {
	Loc   []any          `json:"loc"`
	Msg   string         `json:"msg"`
	Type  string         `json:"type"`
	Ctx   map[string]any `json:"ctx,omitempty"`
	Input any            `json:"input"`
}

// parsePlan reads the body of an allocation. Unknown members are ignored. Ours are on_demand_vms, programs that callers are sent
// here for, and leaving, instances that another node is to fetch.
func parsePlan(body []byte) (plan execution.Plan, problems []problem, err error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		return plan, nil, err
	}
	if members == nil {
		return plan, nil, errors.New("not an object")
	}
	for name, target := range map[string]*[]message.Hash{
		"persistent_vms": &plan.Persistent, "instances": &plan.Instances, "on_demand_vms": &plan.OnDemand,
		"leaving": &plan.Leaving,
	} {
		raw, ok := members[name]
		if !ok {
			continue
		}
		var items []json.RawMessage
		if err := json.Unmarshal(raw, &items); err != nil {
			problems = append(problems, problem{Loc: []any{name}, Msg: "Input should be a valid set", Type: "set_type", Input: raw})
			continue
		}
		for i, item := range items {
			hash, wrong := parseItem(item, name, i)
			if problems = append(problems, wrong...); wrong == nil {
				*target = append(*target, hash)
			}
		}
	}
	return plan, problems, nil
}
