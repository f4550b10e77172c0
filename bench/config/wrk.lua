-- What wrk is told beyond its flags: the size of the body to POST, as its first
-- argument (0 is a GET), and to say at the end, as one line of JSON, what the
-- benchmark needs. Latencies are in microseconds.

function init(args)
	local size = tonumber(args[1])
	if size > 0 then
		wrk.method = "POST"
		wrk.body = string.rep("x", size)
	end
end

function done(summary, latency)
	local e = summary.errors
	io.write(string.format('{"requests":%d,"errors":%d,"p50":%d,"p99":%d}\n',
		summary.requests, e.connect + e.read + e.write + e.status + e.timeout,
		latency:percentile(50), latency:percentile(99)))
end
