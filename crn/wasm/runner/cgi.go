package runner

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
)

// variables are the request as CGI/1.1 gives it to a program (RFC 3875 §4.1).
func variables(r *http.Request) map[string]string {
	v := map[string]string{
		"GATEWAY_INTERFACE": "CGI/1.1", "SERVER_SOFTWARE": "aleph-vm", "SERVER_PROTOCOL": r.Proto,
		"REQUEST_METHOD": r.Method, "REQUEST_URI": r.URL.RequestURI(), "SCRIPT_NAME": "", "PATH_INFO": r.URL.Path, "QUERY_STRING": r.URL.RawQuery,
		"SERVER_NAME": r.Host, "SERVER_PORT": "80", "HTTP_HOST": r.Host,
	}
	if name, port, err := net.SplitHostPort(r.Host); err == nil {
		v["SERVER_NAME"], v["SERVER_PORT"] = name, port
	}
	if r.Header.Get("X-Forwarded-Proto") == "https" {
		v["HTTPS"] = "on"
	}
	// The node adds the address that it saw to those that the caller names.
	forwarded := strings.Split(r.Header.Get("X-Forwarded-For"), ",")
	v["REMOTE_ADDR"] = strings.TrimSpace(forwarded[len(forwarded)-1])
	if r.ContentLength >= 0 {
		v["CONTENT_LENGTH"] = strconv.FormatInt(r.ContentLength, 10)
	}
	for name, values := range r.Header {
		switch name {
		case "Proxy": // HTTP_PROXY means something else to many programs
			continue
		case "Content-Type":
			v["CONTENT_TYPE"] = values[0]
			continue
		case "Content-Length":
			continue
		}
		separator := ", "
		if name == "Cookie" {
			separator = "; "
		}
		v["HTTP_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_"))] = strings.Join(values, separator)
	}
	return v
}

// maxHead bounds the header of an answer, in bytes.
const maxHead = 64 << 10

// head is the header of an answer.
type head struct {
	status int // 200 to 599
	header http.Header
}

// headLength returns the length of the header that b begins with, with its empty line; 0 while that has not come.
func headLength(b []byte) int {
	for at := 0; ; {
		end := bytes.IndexByte(b[at:], '\n')
		if end < 0 {
			return 0
		}
		line := bytes.TrimSuffix(b[at:at+end], []byte("\r"))
		at += end + 1
		if len(line) == 0 {
			return at
		}
	}
}

// Headers that are about one connection, which is not the program's.
var hopByHop = map[string]bool{
	"Connection": true, "Keep-Alive": true, "Proxy-Authenticate": true, "Proxy-Connection": true, "Te": true, "Trailer": true,
	"Transfer-Encoding": true, "Upgrade": true,
}

// parseHead reads a header that ends with its empty line (RFC 3875 §6.3): fields, of which Status is the status.
func parseHead(b []byte) (head, error) {
	h := head{status: http.StatusOK, header: http.Header{}}
	lines := bytes.Split(b, []byte("\n"))
	if len(lines) < 3 {
		return h, errors.New("the answer has no header; it begins with lines like \"Content-Type: text/plain\", then an empty line")
	}
	said := false
	for _, line := range lines[:len(lines)-2] {
		line = bytes.TrimSuffix(line, []byte("\r"))
		name, value, ok := strings.Cut(string(line), ":")
		value = strings.Trim(value, " \t")
		if !ok || !isToken(name) || !isValue(value) {
			return h, fmt.Errorf("%.80q is no header field; the answer begins with lines like \"Content-Type: text/plain\", then an empty line", line)
		}
		switch name = http.CanonicalHeaderKey(name); {
		case name == "Status":
			code, _, _ := strings.Cut(value, " ")
			n, err := strconv.Atoi(code)
			if err != nil || n < 200 || n > 599 {
				return h, fmt.Errorf("%.80q is no status; want a number from 200 to 599, and perhaps words", value)
			}
			h.status, said = n, true
		case hopByHop[name]:
		case name == "Content-Length":
			if n, err := strconv.ParseUint(value, 10, 63); err != nil || h.header.Get(name) != "" {
				return h, fmt.Errorf("%.80q is no length of the body", value)
			} else {
				h.header.Set(name, strconv.FormatUint(n, 10))
			}
		default:
			h.header.Add(name, value)
		}
	}
	if !said && h.header.Get("Location") != "" {
		h.status = http.StatusFound
	}
	return h, nil
}

func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

func isValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}
