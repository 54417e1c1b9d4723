package registry

import (
	"encoding/json"
)

const (
	scoreWindow   = 10   // blocks within which posts of several scorers count as one measurement
	inactiveScore = 0.01 // below it a node counts as inactive
)

// scoresContent is the content of a post with scores. Other members are of no interest here.
type scoresContent struct {
	Scores struct {
		Core     []json.RawMessage `json:"ccn"`
		Resource []json.RawMessage `json:"crn"`
	} `json:"scores"`
}

type score struct {
	NodeID           string   `json:"node_id"`
	Total            *float64 `json:"total_score"`
	Performance      float64  `json:"performance"`
	Decentralization *float64 `json:"decentralization"`
}

// applyScores takes the measurements of spec §5. Entries that are malformed or of unknown nodes are passed over.
func (s *State) applyScores(e Scores) Outcome {
	for _, r := range s.params.IgnoredScores {
		if r.From <= e.Height && e.Height <= r.To {
			return ignored(IgnoredHeight)
		}
	}
	var content scoresContent
	if json.Unmarshal(e.Content, &content) != nil {
		return ignored(Malformed)
	}
	together := s.lastScores > e.Height-scoreWindow
	for _, raw := range content.Scores.Core {
		if entry, ok := parseScore(raw); ok {
			if n := s.core[entry.NodeID]; n != nil {
				n.take(entry, e.Height, together)
			}
		}
	}
	for _, raw := range content.Scores.Resource {
		entry, ok := parseScore(raw)
		if !ok {
			continue
		}
		r := s.resource[entry.NodeID]
		if r == nil {
			continue
		}
		r.take(entry, e.Height, together)
		if r.InactiveSince != nil && r.parent == nil && e.Height > s.params.RemovalHeight &&
			e.Height-*r.InactiveSince > s.params.RemovalAfter {
			s.removeResource(r)
		}
	}
	s.lastScores = max(s.lastScores, e.Height)
	return applied()
}

func parseScore(raw json.RawMessage) (score, bool) {
	var entry score
	err := json.Unmarshal(raw, &entry)
	return entry, err == nil && entry.Total != nil && entry.Decentralization != nil
}

// take records a measurement. together tells that another scorer has measured at about the same height: the better
// result counts.
func (n *Node) take(entry score, height int64, together bool) {
	total, performance := unit(*entry.Total), unit(entry.Performance)
	switch {
	case total >= inactiveScore:
		n.InactiveSince = nil
	case n.InactiveSince == nil:
		n.InactiveSince = &height
	}
	if together {
		total, performance = max(n.Score, total), max(n.Performance, performance)
	}
	n.Score, n.Performance, n.Decentralization = total, performance, unit(*entry.Decentralization)
	n.ScoreUpdated = true
}

func unit(x float64) float64 { return min(max(x, 0), 1) }
