package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/aleph-im/aleph-go/ccn/backup"
	"github.com/aleph-im/aleph-go/internal/config"
)

func runBackup(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o := defaultCCN()
	set := config.New("alephd ccn backup", "ALEPHD", o).Takes("DEST")
	if err := set.Load(args, os.LookupEnv, stdout); err != nil {
		return err
	}
	if o.Store != "" {
		return errors.New("backup and restore are for the SQLite database in the data folder: for the one named by --store use its own tools, such as pg_dump")
	}
	p := newProgress(stderr, time.Now)
	m, err := backup.Run(ctx, backup.Config{
		DataDir: o.DataDir, Dir: set.Argument(0), FilesElsewhere: o.Files != "" && o.Files != "disk", Progress: func(done int64) { p.show("files", done, 0) },
	})
	p.end()
	if err != nil {
		return err
	}
	for _, h := range m.Missing {
		fmt.Fprintf(stderr, "alephd: file %s is referred to and the node does not have it: it is not in the backup\n", h)
	}
	_, err = fmt.Fprintf(stdout, "backup in %s: database of %d bytes, %d files, %d IPFS pins\n",
		set.Argument(0), m.Database.Bytes, len(m.Files), len(m.Pins))
	return err
}

func runRestore(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o := defaultCCN()
	set := config.New("alephd ccn restore", "ALEPHD", o).Takes("SRC")
	if err := set.Load(args, os.LookupEnv, stdout); err != nil {
		return err
	}
	if o.Store != "" {
		return errors.New("backup and restore are for the SQLite database in the data folder: for the one named by --store use its own tools, such as pg_dump")
	}
	p := newProgress(stderr, time.Now)
	m, err := backup.Restore(ctx, set.Argument(0), o.DataDir, func(done, total int64) { p.show("files", done, total) })
	p.end()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "restored the backup of %s into %s: %d files\n", m.Made.Format(time.RFC3339), o.DataDir, len(m.Files))
	return err
}
