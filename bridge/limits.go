package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// What is read of one answer at most. A result's answer holds its first rows and an address of some 1 kB for each chunk;
// everything else is a few kB.
var (
	queryAnswerBytesMax int64 = 256 << 20
	otherAnswerBytesMax int64 = 16 << 20
)

// How long one answer's body may take: this, and more for what has come by then. A query's answer of 256 MB comes in half an
// hour at the least; one byte a second ends after a minute.
var (
	answerTimeMax      = time.Minute
	answerBytesASecond = int64(128 << 10)
)

var (
	errAnswerTooLarge = errors.New("the server's answer does not end")
	errAnswerTooSlow  = errors.New("the server's answer does not end in time")
)

// bodyFailure says what is wrong with an answer that is not worth asking for again; nil for one that was cut short.
func bodyFailure(err error) *failure {
	switch {
	case errors.Is(err, errAnswerTooLarge):
		return &failure{Kind: kindVerification, Reason: "answer_too_large",
			Message: fmt.Sprintf("the answer is longer than %d bytes", queryAnswerBytesMax)}
	case errors.Is(err, errAnswerTooSlow):
		return &failure{Kind: kindConnection, Reason: "answer_too_slow",
			Message: fmt.Sprintf("the server's answer came at less than %d bytes a second for %v", answerBytesASecond, answerTimeMax)}
	}
	return nil
}

// guard stands before the network: no secret leaves in the clear, and no answer is read without end.
type guard struct{ base http.RoundTripper }

func (g guard) RoundTrip(request *http.Request) (*http.Response, error) {
	if carriesSecrets(request) && !isSafeAddress(request.URL) {
		return nil, &failure{Kind: kindConnection, Reason: "insecure", NothingSent: true,
			Message: fmt.Sprintf("a request with secrets is not sent to %s://%s: it would go in the clear", request.URL.Scheme,
				request.URL.Host)}
	}
	ctx, cancel := context.WithCancelCause(request.Context())
	answer, err := g.base.RoundTrip(request.WithContext(ctx))
	if err != nil {
		cancel(nil)
		return nil, err
	}
	limit := otherAnswerBytesMax
	if carriesStatement(request.URL.Path) {
		limit = queryAnswerBytesMax
	}
	answer.Body = newBoundedBody(answer.Body, limit, ctx, cancel)
	return answer, nil
}

type boundedBody struct {
	io.ReadCloser
	left   int64 // bytes that may still come
	begun  time.Time
	read   int64
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
}

func newBoundedBody(body io.ReadCloser, limit int64, ctx context.Context, cancel context.CancelCauseFunc) *boundedBody {
	return &boundedBody{ReadCloser: body, left: limit, begun: time.Now(), ctx: ctx, cancel: cancel,
		timer: time.AfterFunc(answerTimeMax, func() { cancel(errAnswerTooSlow) })}
}

func (b *boundedBody) Read(into []byte) (int, error) {
	if b.left < 0 {
		return 0, errAnswerTooLarge
	}
	if int64(len(into)) > b.left+1 {
		into = into[:b.left+1]
	}
	count, err := b.ReadCloser.Read(into)
	if b.left -= int64(count); b.left < 0 {
		return 0, errAnswerTooLarge
	}
	b.read += int64(count)
	if err != nil {
		if err != io.EOF && errors.Is(context.Cause(b.ctx), errAnswerTooSlow) {
			err = errAnswerTooSlow
		}
		return count, err
	}
	earned := time.Duration(b.read/answerBytesASecond) * time.Second
	if b.timer.Stop() {
		b.timer.Reset(time.Until(b.begun.Add(answerTimeMax + earned)))
	}
	return count, nil
}

func (b *boundedBody) Close() error {
	b.timer.Stop()
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}

// Only a cloud's own metadata service is asked over plain http, by a GET without a token.
func carriesSecrets(request *http.Request) bool {
	return request.Method != http.MethodGet || request.Header.Get("Authorization") != ""
}

// isSafeAddress: https, or http that does not leave this machine.
func isSafeAddress(address *url.URL) bool {
	return address.Scheme == "https" && address.Host != "" || address.Scheme == "http" && isLoopback(address.Hostname())
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
