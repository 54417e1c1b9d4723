package registry

import (
	"encoding/json"
	"fmt"
	"testing"
)

func (s *story) scores(height int64, core, resource string) Outcome {
	return s.Apply(Scores{Height: height, Content: json.RawMessage(fmt.Sprintf(`{"tags":["mainnet"],"scores":{"ccn":[%s],"crn":[%s]}}`, core, resource))})
}

func scored(node string, total float64) string {
	return fmt.Sprintf(`{"node_id":%q,"total_score":%v,"decentralization":0.5,"performance":0.25}`, node, total)
}

func TestScores(t *testing.T) { // spec §5
	s := begin(t)
	s.ownsCore("A", "N")
	s.ownsResource("R", "R1")
	s.must(s.scores(21_000_000, scored("N", 1.5)+`,{"node_id":"N"},17,`+scored("R1", 0.9), scored("R1", 0)+","+scored("N", 0)+","+scored("?", 1)))
	n, r := s.coreNode("N"), s.resourceNode("R1")
	if n.Score != 1 || n.Performance != 0.25 || n.Decentralization != 0.5 || !n.ScoreUpdated || n.InactiveSince != nil {
		t.Errorf("%+v", n)
	}
	if r.Score != 0 || r.InactiveSince == nil || *r.InactiveSince != 21_000_000 {
		t.Errorf("%+v", r)
	}

	s.must(s.scores(21_000_009, scored("N", 0.5), scored("R1", 0)))
	if got := s.coreNode("N").Score; got != 1 {
		t.Errorf("of two scores within ten blocks %v counts", got)
	}
	s.must(s.scores(21_000_019, scored("N", 0.5), ""))
	if got := s.coreNode("N").Score; got != 0.5 {
		t.Errorf("a later score counts %v", got)
	}
	if r := s.resourceNode("R1"); *r.InactiveSince != 21_000_000 {
		t.Errorf("inactive since %d", *r.InactiveSince)
	}
	s.must(s.scores(21_000_100, "", scored("R1", 0.3)))
	if r := s.resourceNode("R1"); r.InactiveSince != nil || r.Score != 0.3 {
		t.Errorf("%+v", r)
	}
	if o := s.scores(23_600_000, scored("N", 0.1), ""); o.Reason != IgnoredHeight || s.coreNode("N").Score != 0.5 {
		t.Errorf("scores of an ignored height: %+v", o)
	}
	if o := s.Apply(Scores{Content: json.RawMessage(`{"scores":[]}`)}); o.Reason != Malformed {
		t.Errorf("%+v", o)
	}
}

func TestComputeNodeIsDroppedAfterLongInactivity(t *testing.T) {
	const start, limit = 21_000_000, 641_700
	s := begin(t)
	s.ownsCore("A", "N")
	for _, r := range []string{"free", "linked"} {
		s.ownsResource("R", r)
	}
	s.must(s.op("A", "link", "linked"))
	zeroes := scored("free", 0) + "," + scored("linked", 0)
	s.must(s.scores(start, scored("N", 0), zeroes))
	s.must(s.scores(start+limit, scored("N", 0), zeroes))
	if got := len(s.Aggregate().ResourceNodes); got != 2 {
		t.Fatalf("%d nodes at the last height", got)
	}
	s.must(s.scores(start+limit+1, scored("N", 0), zeroes))
	if a := s.Aggregate(); len(a.ResourceNodes) != 1 || a.ResourceNodes[0].Hash != "linked" || len(a.Nodes) != 1 {
		t.Errorf("left: %+v", a)
	}
}

func TestInactivityBeforeTheRuleDropsNothing(t *testing.T) {
	s := begin(t)
	s.ownsResource("R", "R1")
	s.must(s.scores(20_000_000, "", scored("R1", 0)))
	s.must(s.scores(20_840_959, "", scored("R1", 0)))
	if len(s.Aggregate().ResourceNodes) != 1 {
		t.Error("dropped before the rule is in force")
	}
	s.must(s.scores(20_840_960, "", scored("R1", 0)))
	if len(s.Aggregate().ResourceNodes) != 0 {
		t.Error("kept when the rule is in force")
	}
}
