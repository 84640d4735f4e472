#!/bin/sh
# A redis server on a free loopback port, the benchmark against it, and then what it holds.
# $run goes before the server and its clients. Prints what does not depend on speed.
tries=0
while :; do
    port=$(awk -v t="$$$tries" 'BEGIN { srand(t); print 20000 + int(rand() * 20000) }')
    $run redis-server --port "$port" --bind 127.0.0.1 --save '' --appendonly no --daemonize no \
        --dir . >server.log 2>&1 &
    server=$!
    trap 'kill $server 2>/dev/null' EXIT
    wait=0
    until $run redis-cli -p "$port" ping >/dev/null 2>&1; do
        wait=$((wait + 1))
        kill -0 $server 2>/dev/null && [ $wait -lt 100 ] || break
        sleep 0.1
    done
    kill -0 $server 2>/dev/null && break
    tries=$((tries + 1))
    [ $tries -lt 5 ] || exit 1
done
cli() { $run redis-cli -p "$port" "$@"; }
$run redis-benchmark -p "$port" -n 20000 -c 20 -q -r 1000 -t set,get,incr,lpush,rpop,sadd,hset,zadd,lrange \
    >bench.log 2>&1 || exit 1
grep -c 'requests per second' bench.log
cli flushall
awk 'BEGIN { for (i = 0; i < 20000; i++) {
    printf "SET key:%d %0*d\r\n", i, i % 200 + 1, i
    printf "HSET hash:%d f%d v%d\r\n", i % 50, i, i
    printf "ZADD rank %d member%d\r\n", i * 7919 % 20000, i } }' | cli --pipe | tail -n 1
cli dbsize
cli get key:777
cli hlen hash:7
cli zrange rank 100 110
awk 'BEGIN { for (i = 0; i < 20000; i += 2) printf "DEL key:%d\r\n", i }' | cli --pipe | tail -n 1
cli dbsize
cli bgsave # a forked child writes the dump
while cli info persistence | grep -q rdb_bgsave_in_progress:1; do sleep 0.1; done
cli info persistence | grep rdb_last_bgsave_status
cli save
cli shutdown nosave 2>/dev/null
wait $server
echo "server ended: $?"
