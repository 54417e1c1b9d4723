package config

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

type options struct {
	HTTPListen string        `name:"http-listen" doc:"address"`
	Peers      []string      `name:"peers" doc:"peers"`
	Debug      bool          `name:"debug" doc:"debug"`
	Limit      int           `name:"limit" doc:"limit"`
	Every      time.Duration `name:"every" doc:"pause"`
}

func load(t *testing.T, yaml string, env map[string]string, args ...string) (options, *Set, error) {
	t.Helper()
	o := options{HTTPListen: "default:1", Limit: 3, Every: time.Second}
	s := New("test", "ALEPHD", &o)
	if yaml != "" {
		path := filepath.Join(t.TempDir(), "c.yaml")
		if err := os.WriteFile(path, []byte(yaml), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append([]string{"--config", path}, args...)
	}
	err := s.Load(args, func(k string) (string, bool) { v, ok := env[k]; return v, ok }, &bytes.Buffer{})
	return o, s, err
}

func TestFlagsWinOverEnvironmentOverFileOverDefault(t *testing.T) {
	env := map[string]string{"ALEPHD_LIMIT": "5", "ALEPHD_HTTP_LISTEN": "env:1"}
	o, s, err := load(t, "http-listen: file:1\npeers: [a, b]\nlimit: 4\n", env, "--http-listen", "flag:1", "--debug")
	if err != nil {
		t.Fatal(err)
	}
	if o.HTTPListen != "flag:1" || o.Limit != 5 || !slices.Equal(o.Peers, []string{"a", "b"}) || !o.Debug || o.Every != time.Second {
		t.Fatalf("got %+v", o)
	}
	var out bytes.Buffer
	if err := s.Print(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"flag:1", "env", "a,b", "file", "default"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
}

func TestMistakesAreNamed(t *testing.T) {
	for _, tt := range []struct {
		name, yaml string
		env        map[string]string
		args       []string
		want       string
	}{
		{"key", "http-lisen: x\n", nil, nil, `did you mean "http-listen"`},
		{"flag", "", nil, []string{"--pers", "x"}, "did you mean --peers"},
		{"number", "limit: many\n", nil, nil, `"many" is no whole number`},
		{"variable", "", map[string]string{"ALEPHD_EVERY": "5"}, nil, "ALEPHD_EVERY"},
		{"mapping", "peers: {a: b}\n", nil, nil, "not a mapping"},
		{"no YAML", ":\n  - [", nil, nil, "not valid YAML"},
		{"no YAML, without its lines", "password: secret\nbad: [1", nil, nil, "sequence end token ']' not found"},
		{"argument", "", nil, []string{"run"}, `unexpected argument "run"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := load(t, tt.yaml, tt.env, tt.args...)
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "secret") {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestArgumentsStandAmongOptions(t *testing.T) {
	var flat struct {
		options
		Output string `name:"output" short:"o" doc:"form"`
	}
	s := New("test", "ALEPHD", &flat).Takes("FOLDER")
	none := func(string) (string, bool) { return "", false }
	if err := s.Load([]string{"--limit", "4", "there", "-o", "json"}, none, &bytes.Buffer{}); err != nil {
		t.Fatal(err)
	}
	if s.Argument(0) != "there" || flat.Output != "json" || flat.Limit != 4 {
		t.Errorf("got %q, %+v", s.Argument(0), flat)
	}
	if err := s.Load(nil, none, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "FOLDER is missing") {
		t.Errorf("got %v", err)
	}
	if err := s.Load([]string{"a", "b"}, none, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), `unexpected argument "b"`) {
		t.Errorf("got %v", err)
	}
}

func TestHelpListsEveryOption(t *testing.T) {
	var o options
	var out bytes.Buffer
	err := New("test", "ALEPHD", &o).Load([]string{"--help"}, os.LookupEnv, &out)
	if !errors.Is(err, flag.ErrHelp) {
		t.Fatal(err)
	}
	for _, name := range []string{"--http-listen", "--peers", "--config", "ALEPHD_HTTP_LISTEN"} {
		if !strings.Contains(out.String(), name) {
			t.Errorf("%s is not in the help", name)
		}
	}
}

func TestPasswordsAreNotPrinted(t *testing.T) {
	for value, want := range map[string]string{
		"postgres://user:s3cr3t@host/db?sslmode=disable":  "postgres://user:***@host/db?sslmode=disable",
		"postgres://user:s3@cr3t/x@host/db":               "postgres://user:***@host/db",
		"postgres://:s3cr3t@host/db":                      "postgres://:***@host/db",
		"postgres://user@host/db?password=s3cr3t&x=1":     "postgres://user@host/db?password=***&x=1",
		"host=h user=u password=s3cr3t dbname=d":          "host=h user=u password=*** dbname=d",
		"https://key:s3cr3t@rpc.example/v1":               "https://key:***@rpc.example/v1",
		"http://a.example:1,http://u:s3cr3t@b.example:2":  "http://a.example:1,http://u:***@b.example:2",
		"sqlite:/var/lib/aleph.db":                        "sqlite:/var/lib/aleph.db",
		"/ip4/0.0.0.0/tcp/4025":                           "/ip4/0.0.0.0/tcp/4025",
		"s3://bucket/prefix?endpoint=https://host:9000/x": "s3://bucket/prefix?endpoint=https://host:9000/x",
	} {
		o := struct {
			Store string `name:"store" doc:"database"`
		}{value}
		var out strings.Builder
		if err := New("x", "X", &o).Print(&out); err != nil {
			t.Fatal(err)
		}
		if got := strings.Fields(strings.Split(out.String(), "\n")[1]); strings.Join(got[1:len(got)-1], " ") != want {
			t.Errorf("%s is printed as %q", value, got)
		}
		if o.Store != value {
			t.Errorf("%s became %s", value, o.Store)
		}
	}
}
