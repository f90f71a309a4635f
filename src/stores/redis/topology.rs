//! Which primary of a cluster serves which slots, as its nodes tell it. Pure: it owns the reading of `CLUSTER NODES`
//! and the slot of a key, and asks nobody.

/// Slots of a cluster.
pub(super) const SLOTS: u16 = 16_384;

/// A primary, as one node describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Primary {
    /// Its id in the cluster; empty outside of one.
    pub(super) id: String,
    /// Where it is.
    pub(super) host: String,
    /// Where it is.
    pub(super) port: u16,
    /// The slots it serves, both ends inside.
    pub(super) slots: Vec<(u16, u16)>,
    /// False while slots are on their way to or from it. Only a node itself tells.
    pub(super) is_settled: bool,
}

impl Primary {
    /// A server outside of a cluster.
    pub(super) fn of_everything(host: String) -> Self {
        Self { id: String::new(), host, port: 0, slots: vec![(0, SLOTS - 1)], is_settled: true }
    }

    /// True where it serves the slot.
    pub(super) fn serves(&self, slot: u16) -> bool {
        self.slots.iter().any(|(from, to)| (*from..=*to).contains(&slot))
    }

    /// How many slots it serves.
    pub(super) fn slots_served(&self) -> usize {
        self.slots.iter().map(|(from, to)| usize::from(to.saturating_sub(*from)) + 1).sum()
    }
}

/// Every primary that is alive. `host` is where we asked: a node that has met no other does not know its own address.
pub(super) fn primaries_of(lines: &str, host: &str) -> Vec<Primary> {
    lines.lines().filter_map(|line| primary_of(line, host)).map(|(primary, _)| primary).collect()
}

/// The node that was asked, where it is a primary.
pub(super) fn own_line(lines: &str, host: &str) -> Option<Primary> {
    lines.lines().filter_map(|line| primary_of(line, host)).find(|(_, is_own)| *is_own).map(|(own, _)| own)
}

fn primary_of(line: &str, asked: &str) -> Option<(Primary, bool)> {
    let mut words = line.split(' ');
    let (id, address, flags) = (words.next()?, words.next()?, words.next()?);
    let flags: Vec<&str> = flags.split(',').collect();
    if !flags.contains(&"master") || ["fail", "noaddr", "handshake"].iter().any(|flag| flags.contains(flag)) {
        return None;
    }
    // host:port@bus,name
    let address = address.split([',', '@']).next()?;
    let (host, port) = address.rsplit_once(':')?;
    let host = if host.is_empty() { asked } else { host.trim_start_matches('[').trim_end_matches(']') };
    let mut slots = Vec::new();
    let mut is_settled = true;
    for word in words.skip(5).filter(|word| !word.is_empty()) {
        if word.starts_with('[') {
            is_settled = false;
            continue;
        }
        let (from, to) = word.split_once('-').unwrap_or((word, word));
        slots.push((from.parse().ok()?, to.parse().ok()?));
    }
    let primary =
        Primary { id: id.to_owned(), host: host.to_owned(), port: port.parse().ok()?, slots, is_settled };
    Some((primary, flags.contains(&"myself")))
}

/// The slot of a key: of the text in its first pair of braces, where that is not empty.
pub(super) fn slot_of(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let behind = key.get(open + 1..)?;
        let close = behind.iter().position(|byte| *byte == b'}').filter(|close| *close > 0)?;
        behind.get(..close)
    });
    crc16(tag.unwrap_or(key)) % SLOTS
}

/// CRC-16/XMODEM, which clusters divide their keys by.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_fall_into_the_slots_that_servers_put_them_in() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        // As `CLUSTER KEYSLOT` of a server says.
        for (key, slot) in [("foo", 12_182), ("agent:{foo}:7", 12_182), ("{foo}{bar}", 12_182), ("", 0)] {
            assert_eq!(slot_of(key.as_bytes()), slot, "{key}");
        }
        assert_eq!(slot_of(b"t:{a}:x"), slot_of(b"t:{a}b:y{"), "one tag, one slot");
        assert_ne!(slot_of(b"{}foo"), slot_of(b"foo"), "an empty tag is none");
    }

    #[test]
    fn primaries_and_moving_slots_are_read() {
        let lines = "\
aa 127.0.0.1:7000@17000,host myself,master - 0 0 1 connected 0-5460 10000 [5461->-bb]
bb 127.0.0.1:7001@17001 master - 0 1 2 connected 5461-9999 10001-16383
cc 127.0.0.1:7002@17002 slave aa 0 1 1 connected
dd 127.0.0.1:7003@17003 master,fail - 0 1 3 disconnected
ee :7004@17004 master - 0 1 4 connected
";
        let primaries = primaries_of(lines, "here");
        let ids: Vec<&str> = primaries.iter().map(|primary| primary.id.as_str()).collect();
        assert_eq!(ids, ["aa", "bb", "ee"]);
        assert_eq!(primaries[0].slots, [(0, 5460), (10_000, 10_000)]);
        assert_eq!(primaries.iter().map(Primary::slots_served).sum::<usize>(), usize::from(SLOTS));
        assert_eq!((primaries[2].host.as_str(), primaries[2].port), ("here", 7004));
        let own = own_line(lines, "here").unwrap();
        assert!(!own.is_settled && own.id == "aa" && own.serves(10_000) && !own.serves(5461));
        assert!(primaries[1].is_settled);
    }
}
