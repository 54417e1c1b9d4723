package code

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/aleph-im/aleph-go/message"
)

// Again finds what to pack at path as new code of a program that [StartScript] starts; old is the archive of the code that it has.
// An application of WSGI stays the one that is served, whether it was said or found, where the new code has it. Anything else is
// found anew.
func Again(path string, old io.ReaderAt, size int64) (*Code, error) {
	application, err := served(old, size)
	if err != nil {
		return nil, fmt.Errorf("read the code that the program has: %w", err)
	}
	there, err := names(path, application)
	switch {
	case err != nil:
		return nil, err
	case there:
		return Read(path, application, WSGI)
	}
	return Read(path, StartScript, message.InterfaceBinary)
}

// served is the application that the script of an archive serves by WSGI, module:variable; "" where it does something else.
func served(archive io.ReaderAt, size int64) (string, error) {
	z, err := zip.NewReader(archive, size)
	if err != nil {
		return "", err
	}
	file, err := z.Open(StartScript)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	} else if err != nil {
		return "", err
	}
	defer file.Close()
	script, err := io.ReadAll(io.LimitReader(file, 1<<16)) // one of ours is a line
	if err != nil {
		return "", err
	}
	word, before := strings.CutPrefix(string(script), scriptStart+serveWSGI)
	word, after := strings.CutSuffix(word, serveThere+"\n")
	if !before || !after {
		return "", nil
	}
	return unquote(word), nil
}

// names reports whether a folder or file has the module of an application, and that module the name of its variable.
func names(path, application string) (bool, error) {
	module, variable, _ := strings.Cut(application, ":")
	root, files, err := Files(path)
	if err != nil || module == "" {
		return false, err
	}
	name := regexp.MustCompile(`\b` + regexp.QuoteMeta(identifier.FindString(variable)) + `\b`)
	module = strings.ReplaceAll(module, ".", "/")
	for _, file := range []string{module + ".py", module + "/__init__.py"} {
		if !slices.Contains(files, file) {
			continue
		}
		source, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(file)))
		if err != nil || name.Match(source) {
			return err == nil, err
		}
	}
	return false, nil
}

var identifier = regexp.MustCompile(`^\w*`)
