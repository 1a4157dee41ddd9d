// Command gosnowflake_reader reads a table from a sandbox with Snowflake's own Go driver and prints, as JSON, how many
// rows came and a checksum that the test computes from the Parquet file in its own way. With -arrow it only counts the rows
// of the driver's Arrow batches, fetched by as many workers as there are cores: the benchmark's peer.
package main

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"log"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/snowflakedb/gosnowflake"
)

type report struct {
	Rows     int    `json:"rows"`
	Checksum uint64 `json:"checksum"`
	Columns  int    `json:"columns"`
}

func main() {
	port := flag.Int("port", 0, "the sandbox's port")
	query := flag.String("query", "", "the statement to read")
	arrow := flag.Bool("arrow", false, "count Arrow batches instead of reading values")
	database := flag.String("database", "SHOP", "the session's database")
	flag.Parse()
	connector := gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, gosnowflake.Config{
		Account: "sandbox", User: "SNOWMELT", Password: "snowmelt",
		Host: "127.0.0.1", Port: *port, Protocol: "http",
		Database: *database, Schema: "PUBLIC",
		DisableTelemetry: true, LoginTimeout: 20 * time.Second,
	})
	do := read
	if *arrow {
		do = count
	}
	found, err := do(connector, *query)
	if err != nil {
		var snowflake *gosnowflake.SnowflakeError
		if errors.As(err, &snowflake) {
			fmt.Fprintf(os.Stderr, "%06d (%s): ", snowflake.Number, snowflake.SQLState)
		}
		log.Fatal(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
		log.Fatal(err)
	}
}

func count(connector driver.Connector, query string) (report, error) {
	var found report
	ctx := gosnowflake.WithArrowBatches(context.Background())
	connection, err := connector.Connect(ctx)
	if err != nil {
		return found, err
	}
	defer connection.Close()
	rows, err := connection.(driver.QueryerContext).QueryContext(ctx, query, nil)
	if err != nil {
		return found, err
	}
	defer rows.Close()
	batches, err := rows.(gosnowflake.SnowflakeRows).GetArrowBatches()
	if err != nil {
		return found, err
	}
	var next, total atomic.Int64
	failures := make(chan error, runtime.NumCPU())
	for range runtime.NumCPU() {
		go func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(batches) {
					failures <- nil
					return
				}
				records, err := batches[i].Fetch()
				if err != nil {
					failures <- err
					return
				}
				for _, record := range *records {
					total.Add(record.NumRows())
					record.Release()
				}
			}
		}()
	}
	for range runtime.NumCPU() {
		err = errors.Join(err, <-failures)
	}
	found.Rows = int(total.Load())
	return found, err
}

func read(connector driver.Connector, query string) (report, error) {
	var found report
	db := sql.OpenDB(connector)
	defer db.Close()
	rows, err := db.QueryContext(context.Background(), query)
	if err != nil {
		return found, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return found, err
	}
	found.Columns = len(columns)
	values := make([]sql.NullString, len(columns))
	targets := make([]any, len(columns))
	for i := range values {
		targets[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(targets...); err != nil {
			return found, err
		}
		found.Rows++
		// A sum over rows: it does not depend on their order.
		hash := fnv.New64a()
		for _, value := range values {
			if value.Valid {
				_, _ = hash.Write([]byte(value.String))
			} else {
				_, _ = hash.Write([]byte{0})
			}
			_, _ = hash.Write([]byte{'|'})
		}
		found.Checksum += hash.Sum64()
	}
	return found, rows.Err()
}
