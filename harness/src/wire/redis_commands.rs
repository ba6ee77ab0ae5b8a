//! Which arguments of a Redis command name keys.

/// Where the keys of a command stand among its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// There are none.
    None,
    /// The first argument.
    First,
    /// The second argument, after a subcommand.
    Second,
    /// The first two.
    FirstTwo,
    /// Every argument.
    All,
    /// Every argument but the last.
    AllButLast,
    /// Every argument but the first.
    AllButFirst,
    /// The first, third, fifth argument and so on.
    EveryOther,
    /// The argument at this index says how many keys follow it.
    Counted(usize),
    /// The first argument, and those that the second one counts.
    DestinationAndCounted,
    /// The first half of what follows `STREAMS`.
    Streams,
}

impl Keys {
    /// The indices of the keys, as a range and the distance between them.
    ///
    /// An argument that should be a number and is not counts as no keys.
    pub fn among(self, args: &[impl AsRef<[u8]>]) -> KeyIndices {
        let len = args.len();
        let span = |start: usize, end: usize| KeyIndices::span(start, end.min(len));
        let counted = |at: usize| {
            let count = args
                .get(at)
                .and_then(|it| str::from_utf8(it.as_ref()).ok())
                .and_then(|it| it.parse::<usize>().ok())
                .unwrap_or(0);
            span(at + 1, (at + 1).saturating_add(count))
        };
        match self {
            Keys::None => span(0, 0),
            Keys::First => span(0, 1),
            Keys::Second => span(1, 2),
            Keys::FirstTwo => span(0, 2),
            Keys::All => span(0, len),
            Keys::AllButLast => span(0, len.saturating_sub(1)),
            Keys::AllButFirst => span(1, len),
            Keys::EveryOther => KeyIndices { step: 2, ..span(0, len) },
            Keys::Counted(at) => counted(at),
            Keys::DestinationAndCounted => KeyIndices { first_too: true, ..counted(1) },
            Keys::Streams => {
                let streams =
                    args.iter().position(|it| it.as_ref().eq_ignore_ascii_case(b"streams"));
                streams.map_or(span(0, 0), |at| span(at + 1, at + 1 + (len - at - 1) / 2))
            }
        }
    }
}

/// The arguments that are keys, by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyIndices {
    start: usize,
    end: usize,
    step: usize,
    first_too: bool,
}

impl KeyIndices {
    fn span(start: usize, end: usize) -> KeyIndices {
        KeyIndices { start, end, step: 1, first_too: false }
    }

    /// Whether the argument at `index` is a key.
    pub fn holds(self, index: usize) -> bool {
        let within = self.start <= index && index < self.end;
        within && (index - self.start).is_multiple_of(self.step) || self.first_too && index == 0
    }

    /// At most how many keys there are.
    pub fn at_most(self) -> usize {
        self.end.saturating_sub(self.start) + usize::from(self.first_too)
    }
}

/// The name of a command we know, as Redis writes it, and where its keys stand.
pub fn lookup(name: &[u8]) -> Option<(&'static str, Keys)> {
    let mut upper = [0; LONGEST];
    let upper = upper.get_mut(..name.len())?;
    upper.copy_from_slice(name);
    upper.make_ascii_uppercase();
    let begins = beginning(upper);
    let from = BEGINNINGS.partition_point(|other| *other < begins);
    let alike = BEGINNINGS[from..].iter().take_while(|other| **other == begins).count();
    let alike = &TABLE[from..from + alike];
    alike.iter().find(|(known, _)| known.as_bytes() == upper).copied()
}

const LONGEST: usize = 24;

/// The first eight bytes of each name, in the order of the table. Every command is looked up, and
/// numbers are compared sooner than names.
static BEGINNINGS: [u64; TABLE.len()] = {
    let mut beginnings = [0; TABLE.len()];
    let mut at = 0;
    while at < TABLE.len() {
        beginnings[at] = beginning(TABLE[at].0.as_bytes());
        at += 1;
    }
    beginnings
};

const fn beginning(name: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    let mut at = 0;
    while at < bytes.len() && at < name.len() {
        bytes[at] = name[at];
        at += 1;
    }
    u64::from_be_bytes(bytes)
}

/// Sorted by name.
const TABLE: &[(&str, Keys)] = &[
    ("ACL", Keys::None),
    ("APPEND", Keys::First),
    ("ASKING", Keys::None),
    ("AUTH", Keys::None),
    ("BF.ADD", Keys::First),
    ("BF.EXISTS", Keys::First),
    ("BGREWRITEAOF", Keys::None),
    ("BGSAVE", Keys::None),
    ("BITCOUNT", Keys::First),
    ("BITFIELD", Keys::First),
    ("BITFIELD_RO", Keys::First),
    ("BITOP", Keys::AllButFirst),
    ("BITPOS", Keys::First),
    ("BLMOVE", Keys::FirstTwo),
    ("BLMPOP", Keys::Counted(1)),
    ("BLPOP", Keys::AllButLast),
    ("BRPOP", Keys::AllButLast),
    ("BRPOPLPUSH", Keys::FirstTwo),
    ("BZMPOP", Keys::Counted(1)),
    ("BZPOPMAX", Keys::AllButLast),
    ("BZPOPMIN", Keys::AllButLast),
    ("CLIENT", Keys::None),
    ("CLUSTER", Keys::None),
    ("COMMAND", Keys::None),
    ("CONFIG", Keys::None),
    ("COPY", Keys::FirstTwo),
    ("DBSIZE", Keys::None),
    ("DEBUG", Keys::None),
    ("DECR", Keys::First),
    ("DECRBY", Keys::First),
    ("DEL", Keys::All),
    ("DISCARD", Keys::None),
    ("DUMP", Keys::First),
    ("ECHO", Keys::None),
    ("EVAL", Keys::Counted(1)),
    ("EVALSHA", Keys::Counted(1)),
    ("EVALSHA_RO", Keys::Counted(1)),
    ("EVAL_RO", Keys::Counted(1)),
    ("EXEC", Keys::None),
    ("EXISTS", Keys::All),
    ("EXPIRE", Keys::First),
    ("EXPIREAT", Keys::First),
    ("EXPIRETIME", Keys::First),
    ("FAILOVER", Keys::None),
    ("FCALL", Keys::Counted(1)),
    ("FCALL_RO", Keys::Counted(1)),
    ("FLUSHALL", Keys::None),
    ("FLUSHDB", Keys::None),
    ("FUNCTION", Keys::None),
    ("GEOADD", Keys::First),
    ("GEODIST", Keys::First),
    ("GEOHASH", Keys::First),
    ("GEOPOS", Keys::First),
    ("GEORADIUS", Keys::First),
    ("GEORADIUSBYMEMBER", Keys::First),
    ("GEORADIUSBYMEMBER_RO", Keys::First),
    ("GEORADIUS_RO", Keys::First),
    ("GEOSEARCH", Keys::First),
    ("GEOSEARCHSTORE", Keys::FirstTwo),
    ("GET", Keys::First),
    ("GETBIT", Keys::First),
    ("GETDEL", Keys::First),
    ("GETEX", Keys::First),
    ("GETRANGE", Keys::First),
    ("GETSET", Keys::First),
    ("HDEL", Keys::First),
    ("HELLO", Keys::None),
    ("HEXISTS", Keys::First),
    ("HEXPIRE", Keys::First),
    ("HEXPIREAT", Keys::First),
    ("HEXPIRETIME", Keys::First),
    ("HGET", Keys::First),
    ("HGETALL", Keys::First),
    ("HGETDEL", Keys::First),
    ("HGETEX", Keys::First),
    ("HINCRBY", Keys::First),
    ("HINCRBYFLOAT", Keys::First),
    ("HKEYS", Keys::First),
    ("HLEN", Keys::First),
    ("HMGET", Keys::First),
    ("HMSET", Keys::First),
    ("HPERSIST", Keys::First),
    ("HPEXPIRE", Keys::First),
    ("HPEXPIREAT", Keys::First),
    ("HPEXPIRETIME", Keys::First),
    ("HPTTL", Keys::First),
    ("HRANDFIELD", Keys::First),
    ("HSCAN", Keys::First),
    ("HSET", Keys::First),
    ("HSETEX", Keys::First),
    ("HSETNX", Keys::First),
    ("HSTRLEN", Keys::First),
    ("HTTL", Keys::First),
    ("HVALS", Keys::First),
    ("INCR", Keys::First),
    ("INCRBY", Keys::First),
    ("INCRBYFLOAT", Keys::First),
    ("INFO", Keys::None),
    ("JSON.DEL", Keys::First),
    ("JSON.GET", Keys::First),
    ("JSON.MGET", Keys::AllButLast),
    ("JSON.SET", Keys::First),
    ("KEYS", Keys::None),
    ("LASTSAVE", Keys::None),
    ("LATENCY", Keys::None),
    ("LCS", Keys::FirstTwo),
    ("LINDEX", Keys::First),
    ("LINSERT", Keys::First),
    ("LLEN", Keys::First),
    ("LMOVE", Keys::FirstTwo),
    ("LMPOP", Keys::Counted(0)),
    ("LOLWUT", Keys::None),
    ("LPOP", Keys::First),
    ("LPOS", Keys::First),
    ("LPUSH", Keys::First),
    ("LPUSHX", Keys::First),
    ("LRANGE", Keys::First),
    ("LREM", Keys::First),
    ("LSET", Keys::First),
    ("LTRIM", Keys::First),
    ("MEMORY", Keys::None),
    ("MGET", Keys::All),
    ("MIGRATE", Keys::None),
    ("MODULE", Keys::None),
    ("MONITOR", Keys::None),
    ("MOVE", Keys::First),
    ("MSET", Keys::EveryOther),
    ("MSETNX", Keys::EveryOther),
    ("MULTI", Keys::None),
    ("OBJECT", Keys::Second),
    ("PERSIST", Keys::First),
    ("PEXPIRE", Keys::First),
    ("PEXPIREAT", Keys::First),
    ("PEXPIRETIME", Keys::First),
    ("PFADD", Keys::First),
    ("PFCOUNT", Keys::All),
    ("PFMERGE", Keys::All),
    ("PING", Keys::None),
    ("PSETEX", Keys::First),
    ("PSUBSCRIBE", Keys::None),
    ("PSYNC", Keys::None),
    ("PTTL", Keys::First),
    ("PUBLISH", Keys::None),
    ("PUBSUB", Keys::None),
    ("PUNSUBSCRIBE", Keys::None),
    ("QUIT", Keys::None),
    ("RANDOMKEY", Keys::None),
    ("READONLY", Keys::None),
    ("READWRITE", Keys::None),
    ("RENAME", Keys::FirstTwo),
    ("RENAMENX", Keys::FirstTwo),
    ("REPLICAOF", Keys::None),
    ("RESET", Keys::None),
    ("RESTORE", Keys::First),
    ("ROLE", Keys::None),
    ("RPOP", Keys::First),
    ("RPOPLPUSH", Keys::FirstTwo),
    ("RPUSH", Keys::First),
    ("RPUSHX", Keys::First),
    ("SADD", Keys::First),
    ("SAVE", Keys::None),
    ("SCAN", Keys::None),
    ("SCARD", Keys::First),
    ("SCRIPT", Keys::None),
    ("SDIFF", Keys::All),
    ("SDIFFSTORE", Keys::All),
    ("SELECT", Keys::None),
    ("SET", Keys::First),
    ("SETBIT", Keys::First),
    ("SETEX", Keys::First),
    ("SETNX", Keys::First),
    ("SETRANGE", Keys::First),
    ("SHUTDOWN", Keys::None),
    ("SINTER", Keys::All),
    ("SINTERCARD", Keys::Counted(0)),
    ("SINTERSTORE", Keys::All),
    ("SISMEMBER", Keys::First),
    ("SLAVEOF", Keys::None),
    ("SLOWLOG", Keys::None),
    ("SMEMBERS", Keys::First),
    ("SMISMEMBER", Keys::First),
    ("SMOVE", Keys::FirstTwo),
    ("SORT", Keys::First),
    ("SORT_RO", Keys::First),
    ("SPOP", Keys::First),
    ("SPUBLISH", Keys::None),
    ("SRANDMEMBER", Keys::First),
    ("SREM", Keys::First),
    ("SSCAN", Keys::First),
    ("SSUBSCRIBE", Keys::None),
    ("STRLEN", Keys::First),
    ("SUBSCRIBE", Keys::None),
    ("SUBSTR", Keys::First),
    ("SUNION", Keys::All),
    ("SUNIONSTORE", Keys::All),
    ("SUNSUBSCRIBE", Keys::None),
    ("SWAPDB", Keys::None),
    ("SYNC", Keys::None),
    ("TIME", Keys::None),
    ("TOUCH", Keys::All),
    ("TTL", Keys::First),
    ("TYPE", Keys::First),
    ("UNLINK", Keys::All),
    ("UNSUBSCRIBE", Keys::None),
    ("UNWATCH", Keys::None),
    ("WAIT", Keys::None),
    ("WAITAOF", Keys::None),
    ("WATCH", Keys::All),
    ("XACK", Keys::First),
    ("XACKDEL", Keys::First),
    ("XADD", Keys::First),
    ("XAUTOCLAIM", Keys::First),
    ("XCLAIM", Keys::First),
    ("XDEL", Keys::First),
    ("XDELEX", Keys::First),
    ("XGROUP", Keys::Second),
    ("XINFO", Keys::Second),
    ("XLEN", Keys::First),
    ("XPENDING", Keys::First),
    ("XRANGE", Keys::First),
    ("XREAD", Keys::Streams),
    ("XREADGROUP", Keys::Streams),
    ("XREVRANGE", Keys::First),
    ("XSETID", Keys::First),
    ("XTRIM", Keys::First),
    ("ZADD", Keys::First),
    ("ZCARD", Keys::First),
    ("ZCOUNT", Keys::First),
    ("ZDIFF", Keys::Counted(0)),
    ("ZDIFFSTORE", Keys::DestinationAndCounted),
    ("ZINCRBY", Keys::First),
    ("ZINTER", Keys::Counted(0)),
    ("ZINTERCARD", Keys::Counted(0)),
    ("ZINTERSTORE", Keys::DestinationAndCounted),
    ("ZLEXCOUNT", Keys::First),
    ("ZMPOP", Keys::Counted(0)),
    ("ZMSCORE", Keys::First),
    ("ZPOPMAX", Keys::First),
    ("ZPOPMIN", Keys::First),
    ("ZRANDMEMBER", Keys::First),
    ("ZRANGE", Keys::First),
    ("ZRANGEBYLEX", Keys::First),
    ("ZRANGEBYSCORE", Keys::First),
    ("ZRANGESTORE", Keys::FirstTwo),
    ("ZRANK", Keys::First),
    ("ZREM", Keys::First),
    ("ZREMRANGEBYLEX", Keys::First),
    ("ZREMRANGEBYRANK", Keys::First),
    ("ZREMRANGEBYSCORE", Keys::First),
    ("ZREVRANGE", Keys::First),
    ("ZREVRANGEBYLEX", Keys::First),
    ("ZREVRANGEBYSCORE", Keys::First),
    ("ZREVRANK", Keys::First),
    ("ZSCAN", Keys::First),
    ("ZSCORE", Keys::First),
    ("ZUNION", Keys::Counted(0)),
    ("ZUNIONSTORE", Keys::DestinationAndCounted),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_fits_the_buffer() {
        assert!(TABLE.is_sorted_by(|(one, _), (next, _)| one.as_bytes() < next.as_bytes()));
        assert!(TABLE.iter().all(|(name, _)| name.len() <= LONGEST));
    }

    #[test]
    fn every_name_in_the_table_is_found() {
        for known in TABLE {
            assert_eq!(lookup(known.0.as_bytes()), Some(*known));
        }
    }

    #[test]
    fn names_are_found_in_any_case() {
        assert_eq!(lookup(b"get"), Some(("GET", Keys::First)));
        assert_eq!(lookup(b"GETT"), None);
        assert_eq!(lookup(b"ZREVRANGEBYLEXI"), None);
        assert_eq!(lookup(&[b'x'; 100]), None);
    }

    #[test]
    fn keys_are_told_from_values() {
        assert_eq!(keys("SET k v EX 5"), ["k"]);
        assert_eq!(keys("MSET a 1 b 2"), ["a", "b"]);
        assert_eq!(keys("DEL a b c"), ["a", "b", "c"]);
        assert_eq!(keys("EVALSHA sha 2 a b arg"), ["a", "b"]);
        assert_eq!(keys("EVAL script 0 arg"), [""; 0]);
        assert_eq!(keys("EVAL script many a"), [""; 0]);
        assert_eq!(keys("ZUNIONSTORE to 2 a b WEIGHTS 1 2"), ["to", "a", "b"]);
        assert_eq!(keys("BLPOP a b 5"), ["a", "b"]);
        assert_eq!(keys("XREAD COUNT 2 STREAMS a b 0 0"), ["a", "b"]);
        assert_eq!(keys("OBJECT ENCODING k"), ["k"]);
        assert_eq!(keys("PUBLISH channel message"), [""; 0]);
        assert_eq!(keys("BITOP AND to a b"), ["to", "a", "b"]);
        assert_eq!(keys("GET"), [""; 0]);
    }

    fn keys(line: &str) -> Vec<&str> {
        let mut words = line.split(' ');
        let (_, keys) = lookup(words.next().unwrap().as_bytes()).unwrap();
        let args: Vec<&str> = words.collect();
        let indices = keys.among(&args);
        let held = (0..args.len()).filter(|at| indices.holds(*at));
        held.map(|at| args[at]).collect()
    }
}
