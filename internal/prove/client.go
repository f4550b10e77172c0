package prove

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"syscall"
	"time"
)

// pauseAfterLoss keeps a client from asking as fast as it can be refused.
const pauseAfterLoss = 10 * time.Millisecond

// client asks one request after another.
type client struct {
	*Generator
	Client
	// ask makes the requests; fresh uses each connection for one.
	ask   func(id string) *Request
	fresh bool
	// fail ends the whole load because of something that is not the server's
	// fault.
	fail context.CancelCauseFunc

	asked uint64 // how many requests
	conn  *conn  // the one to go on with; nil is none
	// release is the one that answered last, cookies are those to send.
	release string
	cookies map[string]string
}

// ownFault is an error of the load client's machine, not of what it loads.
type ownFault struct{ err error }

func (f *ownFault) Error() string {
	return fmt.Sprintf("the load client ran out of its own means (raise the limit of open files, or ask less): %v", f.err)
}

func (f *ownFault) Unwrap() error { return f.err }

// run asks until sending ends; the end of cutting cuts the request in flight.
func (c *client) run(sending, cutting context.Context) {
	defer c.dropConn()
	for {
		if !c.Slow && !c.pacer.wait(sending) || sending.Err() != nil || !c.ledger.sent() {
			return
		}
		asked := c.next()
		r := c.do(cutting, asked)
		if own, is := errors.AsType[*ownFault](r.Err); is {
			c.ledger.unsent()
			c.fail(own)
			return
		}
		c.ledger.ended(r)
		c.answeredBy(r)
		if asked.Ended != nil {
			asked.Ended(r)
		}
		if !r.served() && !sleep(sending, pauseAfterLoss) {
			return
		}
	}
}

// next makes the client's next request.
func (c *client) next() *Request {
	c.asked++
	r := c.ask(fmt.Sprintf("%s-%d-%d", c.id, c.Number, c.asked))
	r.id = fmt.Sprintf("%s-%d-%d", c.id, c.Number, c.asked)
	r.HTTP.Host = c.cfg.Host
	if r.HTTP.Header == nil {
		r.HTTP.Header = http.Header{}
	}
	r.HTTP.Header.Set("User-Agent", userAgent)
	for name, values := range c.cfg.Header {
		r.HTTP.Header[name] = values
	}
	r.HTTP.Header.Set(HeaderID, r.id)
	for _, name := range slices.Sorted(maps.Keys(c.cookies)) {
		r.HTTP.AddCookie(&http.Cookie{Name: name, Value: c.cookies[name]})
	}
	// A client that wants no further answer may say so or just close.
	r.HTTP.Close = c.fresh && c.Random.IntN(2) == 0
	return r
}

// answeredBy keeps which release answered, if one did.
func (c *client) answeredBy(r Result) {
	if r.Release == "" || r.Release == c.release {
		return
	}
	if c.release != "" {
		c.ledger.moved(c.release, r)
	}
	c.release = r.Release
}

// keepCookies keeps those of the answer, by their names: all of a client's requests
// go to one place, so that path and domain say nothing more.
func (c *client) keepCookies(resp *http.Response) {
	if !c.cfg.Cookies {
		return
	}
	for _, cookie := range resp.Cookies() {
		if cookie.MaxAge < 0 {
			delete(c.cookies, cookie.Name)
		} else {
			c.cookies[cookie.Name] = cookie.Value
		}
	}
}

// do sends the request, once, and says how it ended.
func (c *client) do(cutting context.Context, r *Request) Result {
	began := time.Now()
	deadline := began.Add(c.cfg.Timeout + r.Takes)
	res := Result{ID: r.id, Kind: r.Kind, Began: began, Started: began, client: c.Number, number: c.asked, slow: r.Takes > 0, idempotent: isIdempotent(r.HTTP.Method)}
	cn, err := c.connection(cutting, deadline)
	if err != nil {
		res.Took = time.Since(began)
		if isOwnFault(err) {
			res.Err = &ownFault{err}
			return res
		}
		res.lost(cutting, err, nil)
		return res
	}
	res.localPort = cn.localPort()
	res.reused = cn.requests > 0
	cn.limit(cutting, deadline)
	res.Started = time.Now()
	whole := c.exchange(cutting, cn, r, &res)
	res.Took = time.Since(began)
	if whole && res.Outcome != Wrong && !c.fresh {
		c.conn = cn
	} else {
		cn.close()
	}
	return res
}

// exchange writes the request, reads its answer and fills in how it ended. It
// returns whether the connection can be used again.
func (c *client) exchange(cutting context.Context, cn *conn, r *Request, res *Result) bool {
	writeErr := cn.send(r.HTTP)
	// Also after an error: the server may have answered and closed without
	// reading on, and its answer says more than the error.
	resp, err := cn.receive(r.HTTP)
	if err != nil {
		if writeErr != nil {
			err = writeErr
		}
		res.lost(cutting, err, cn)
		return false
	}
	defer resp.Body.Close()
	res.Status = resp.StatusCode
	res.Release = resp.Header.Get(HeaderRelease)
	c.keepCookies(resp)
	body := &heldBack{ReadCloser: resp.Body}
	resp.Body = body
	mismatch, err := c.read(resp, r)
	if err != nil {
		res.lost(cutting, err, cn)
		return false
	}
	c.judge(resp, r, ending{mismatch, cn.in.Buffered(), bySegue(resp, body.begin), isShed(resp, body.begin)}, res)
	return writeErr == nil && !resp.Close
}

// read reads the whole body; mismatch says what is wrong in it, err that it
// didn't come whole.
func (c *client) read(resp *http.Response, r *Request) (mismatch, err error) {
	if r.Check != nil && resp.StatusCode == r.Status {
		if err := r.Check(resp); isMismatch(err) {
			mismatch = err
		} else if err != nil {
			return nil, err
		}
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return mismatch, err
}

// connection returns the one that the last request left, or a new one.
func (c *client) connection(cutting context.Context, deadline time.Time) (*conn, error) {
	if cn := c.conn; cn != nil {
		c.conn = nil
		switch cn.idle() {
		case alive:
			return cn, nil
		case closed:
			c.ledger.idleClosed.Add(1)
		case reset:
			c.ledger.idleReset.Add(1)
		}
		cn.close()
	}
	d := net.Dialer{Deadline: deadline}
	raw, err := d.DialContext(cutting, "tcp", c.cfg.Target)
	if err != nil {
		return nil, err
	}
	c.ledger.connections.Add(1)
	cn, err := newConn(cutting, raw)
	if err != nil {
		return nil, err
	}
	if c.cfg.TLS != nil {
		cn.limit(cutting, deadline)
		if err := cn.secure(cutting, c.cfg.TLS); err != nil {
			cn.close()
			return nil, err
		}
	}
	return cn, nil
}

func (c *client) dropConn() {
	if c.conn != nil {
		c.conn.close()
		c.conn = nil
	}
}

// isOwnFault tells the errors that say nothing about the server: no local port
// left, no descriptor left.
func isOwnFault(err error) bool {
	return errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}
