//! Key templates such as `agent:{tenant}:{staff_id}`: which keys fit, whose they are, and how the server is asked for
//! them. It owns the exact reading of a key, byte by byte; it reads no values.
//!
//! A name stands for one segment, which may be empty. A segment is the longest run of bytes without `:`, without the
//! byte that follows the name in the template, and, for a name at the end, without the separator before it. So
//! `agent:{tenant}:{staff_id}` fits `agent:t-1:7` and not `agent:t-1:7:session`.
//!
//! Where a name is followed by what may stand in a name itself (`agent-{tenant}-{staff_id}`), a key such as
//! `agent-t-1-7` can be read in several ways: such a key is nobody's, so that it is counted and neither erased nor
//! passed over.

use crate::id::TenantId;
use crate::policy::{EventTime, Placement, Records, TenantSource};

/// The key that holds our own marker: never a record.
pub(super) const MARKER: &[u8] = b"retentiond:marker";

/// No segment holds it, whatever the template says: the check for overlapping placements relies on that.
const SEPARATOR: u8 = b':';

const TENANT: &str = "tenant";

/// A template taken apart.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    parts: Vec<Part>,
    constant: Option<TenantId>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(Vec<u8>),
    Segment {
        name: String,
        /// What ends it beside [`SEPARATOR`].
        ends_at: Option<u8>,
    },
}

impl Part {
    /// True for a segment of which a part may look like its end.
    fn may_hold_its_end(&self) -> bool {
        matches!(self, Self::Segment { ends_at: Some(byte), .. } if !self.never_holds(*byte))
    }

    /// A byte that stands in no segment: whoever names a tenant leaves both separators out.
    fn never_holds(&self, byte: u8) -> bool {
        byte == SEPARATOR || matches!(self, Self::Segment { ends_at: Some(b'/'), .. } if byte == b'/')
    }
}

/// A key that fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fitting<'k> {
    /// Whose it is; `None` where that cannot be told: empty, only white space, or not UTF-8.
    pub(super) tenant: Option<TenantId>,
    segments: Vec<&'k [u8]>,
}

impl Layout {
    /// Fails for placements that a Redis store cannot hold.
    pub(super) fn of(placement: &Placement) -> Result<Self, &'static str> {
        let Some(Records::Keys(template)) = &placement.records else {
            return Err("a Redis store holds keys only: give it `keys = \"agent:{tenant}:{staff_id}\"`");
        };
        let constant = match &placement.tenant {
            TenantSource::Constant(tenant) => Some(tenant.clone()),
            TenantSource::Template => None,
            TenantSource::Column(_) => return Err("keys have no column that names a tenant"),
        };
        match &placement.event_time {
            None | Some(EventTime::Text { .. } | EventTime::Epoch { .. }) => {}
            Some(EventTime::Key(_) | EventTime::Modified) => {
                return Err("the event time of a key is in a field of its hash");
            }
        }
        let parts = parse(template).ok_or("the key template cannot be read")?;
        let layout = Self { parts, constant };
        let marks = layout.names().filter(|name| *name == TENANT).count();
        if marks != usize::from(layout.constant.is_none()) {
            return Err("the key template must name the tenant once, or not at all beside a constant one");
        }
        let has_fixed_text = layout
            .parts
            .iter()
            .any(|part| matches!(part, Part::Literal(text) if text.iter().any(u8::is_ascii_alphanumeric)));
        if has_fixed_text { Ok(layout) } else { Err("the key template has no fixed text") }
    }

    /// The names between the braces, in order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Segment { name, .. } => Some(name.as_str()),
            Part::Literal(_) => None,
        })
    }

    /// Reads a key; `None` where it does not fit, and for our marker.
    pub(super) fn read<'k>(&self, key: &'k [u8]) -> Option<Fitting<'k>> {
        if key == MARKER {
            return None;
        }
        let told = self.read_exactly(key);
        if !self.parts.iter().any(Part::may_hold_its_end) {
            return told;
        }
        match (self.ways(key), told) {
            (1, Some(told)) => Some(told),
            (0, _) => None,
            (_, _) => Some(Fitting { tenant: None, segments: Vec::new() }),
        }
    }

    /// In how many ways a key can be read where a segment may hold what ends it; 2 stands for more as well.
    fn ways(&self, key: &[u8]) -> u8 {
        let mut ways = vec![0; key.len() + 1];
        ways.iter_mut().take(1).for_each(|ways| *ways = 1_u8);
        for part in &self.parts {
            let mut next = vec![0; ways.len()];
            match part {
                Part::Literal(literal) => {
                    let fits = ways
                        .iter()
                        .zip(key.windows(literal.len().max(1)))
                        .map(|(ways, here)| if here == literal.as_slice() { *ways } else { 0 });
                    next.iter_mut().skip(literal.len()).zip(fits).for_each(|(next, ways)| *next = ways);
                }
                Part::Segment { .. } => {
                    let mut open = 0;
                    let ends = std::iter::once(None).chain(key.iter().map(Some));
                    for ((next, ways), before) in next.iter_mut().zip(&ways).zip(ends) {
                        if before.is_some_and(|byte| part.never_holds(*byte)) {
                            open = 0;
                        }
                        open = (open + ways).min(2);
                        *next = open;
                    }
                }
            }
            ways = next;
        }
        ways.last().copied().unwrap_or(0)
    }

    fn read_exactly<'k>(&self, key: &'k [u8]) -> Option<Fitting<'k>> {
        let mut tenant = self.constant.clone();
        let mut segments = Vec::with_capacity(self.parts.len());
        let mut rest = key;
        for part in &self.parts {
            match part {
                Part::Literal(literal) => rest = rest.strip_prefix(literal.as_slice())?,
                Part::Segment { name, ends_at } => {
                    let ends = |byte: &u8| *byte == SEPARATOR || Some(*byte) == *ends_at;
                    let (segment, behind) = rest.split_at(rest.iter().position(ends).unwrap_or(rest.len()));
                    if name == TENANT {
                        tenant = std::str::from_utf8(segment).ok().and_then(TenantId::observed);
                    }
                    segments.push(segment);
                    rest = behind;
                }
            }
        }
        rest.is_empty().then_some(Fitting { tenant, segments })
    }

    /// The text of a segment of a key that fits; `None` where there is no such segment or it is not UTF-8.
    pub(super) fn segment<'k>(&self, fitting: &Fitting<'k>, name: &str) -> Option<&'k str> {
        let place = self.names().position(|own| own == name)?;
        std::str::from_utf8(fitting.segments.get(place)?).ok()
    }

    /// The pattern that the server matches: every key that [`Layout::read`] takes, of this tenant where there is one,
    /// and perhaps others, which [`Layout::read`] then leaves out.
    pub(super) fn pattern(&self, tenant: Option<&TenantId>) -> Vec<u8> {
        let mut pattern = Vec::new();
        for part in &self.parts {
            match (part, tenant) {
                (Part::Literal(literal), _) => escape(literal, &mut pattern),
                (Part::Segment { name, .. }, Some(tenant)) if name == TENANT => {
                    escape(tenant.as_str().as_bytes(), &mut pattern);
                }
                (Part::Segment { .. }, _) => pattern.push(b'*'),
            }
        }
        pattern
    }
}

fn parse(template: &str) -> Option<Vec<Part>> {
    let mut parts: Vec<Part> = Vec::new();
    let mut rest = template;
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix('{') {
            let (name, behind) = inside.split_once('}')?;
            if name.is_empty() || name.contains('{') || matches!(parts.last(), Some(Part::Segment { .. })) {
                return None;
            }
            let before = match parts.last() {
                Some(Part::Literal(literal)) => literal.last().copied(),
                Some(Part::Segment { .. }) | None => None,
            };
            // A letter before the last name is no separator: `agent{id}` has ids with a `t` in them.
            let at_the_end = || before.filter(|byte| byte.is_ascii_punctuation());
            let ends_at = behind.bytes().next().or_else(at_the_end);
            parts.push(Part::Segment { name: name.to_owned(), ends_at });
            rest = behind;
        } else {
            let (literal, behind) = rest.split_at(rest.find('{').unwrap_or(rest.len()));
            parts.push(Part::Literal(literal.as_bytes().to_vec()));
            rest = behind;
        }
    }
    Some(parts)
}

/// Takes the special meaning from every byte that has one in a pattern of Redis.
pub(super) fn escape(text: &[u8], pattern: &mut Vec<u8>) {
    for byte in text {
        if b"*?[]\\^-".contains(byte) {
            pattern.push(b'\\');
        }
        pattern.push(*byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(template: &str) -> Layout {
        Layout { parts: parse(template).unwrap(), constant: None }
    }

    fn tenant(text: &str) -> TenantId {
        TenantId::observed(text).unwrap()
    }

    #[test]
    fn a_key_is_read_segment_by_segment_and_to_its_end() {
        let agent = layout("agent:{tenant}:{staff_id}");
        for (key, whose) in [
            ("agent:t-1:7", Some("t-1")),
            ("agent:t-10:7", Some("t-10")),
            ("agent:T-1:7", Some("T-1")),
            ("agent:t-1x:", Some("t-1x")),
            ("agent:a*[b]?\\:7", Some("a*[b]?\\")),
            ("agent:{a}:x", Some("{a}")),
            ("agent:{a}b:x", Some("{a}b")),
            ("agent:t\n1:7\0", Some("t\n1")),
            ("agent::7", None),
            ("agent:  :7", None),
        ] {
            let read = agent.read(key.as_bytes()).unwrap_or_else(|| panic!("{key} fits"));
            assert_eq!(read.tenant, whose.map(tenant), "{key}");
        }
        for key in ["agent:t-1", "agent:t-1:7:x", "Agent:t-1:7", "xagent:t-1:7", "agent:", "", "agent"] {
            assert_eq!(agent.read(key.as_bytes()), None, "{key}");
        }
        let read = agent.read(b"agent:\xff:7").unwrap();
        assert_eq!(read.tenant, None, "what is not UTF-8 names nobody");
        let read = agent.read(b"agent:t-1:\xff\0\n").unwrap();
        assert_eq!(read.tenant, Some(tenant("t-1")));
        assert_eq!(agent.segment(&read, "staff_id"), None);
        let read = agent.read(b"agent:t-1:7").unwrap();
        assert_eq!(agent.segment(&read, "staff_id"), Some("7"));
        assert_eq!(agent.segment(&read, "phone"), None);
    }

    #[test]
    fn other_separators_end_a_segment_too() {
        let slash = layout("a/{tenant}/{id}");
        assert!(slash.read(b"a/t/1").is_some());
        assert!(slash.read(b"a/t/1/2").is_none());
        assert!(slash.read(b"a/t:u/1").is_none(), "no segment holds a colon");
        let behind = layout("{tenant}:agent:{id}.json");
        assert_eq!(behind.read(b"t-1:agent:7.json").unwrap().tenant, Some(tenant("t-1")));
        assert!(behind.read(b"t-1:agent:7.jsonx").is_none());
        assert!(layout("agent{tenant}").read(b"agenttt").is_some());
    }

    #[test]
    fn a_key_that_can_be_read_in_several_ways_is_nobodys() {
        let dash = layout("agent-{tenant}-{id}");
        assert_eq!(dash.read(b"agent-t1-7").unwrap().tenant, Some(tenant("t1")));
        assert_eq!(dash.read(b"agent-t-1").unwrap().tenant, Some(tenant("t")));
        for key in ["agent-t-1-7", "agent-t1-7-x", "agent-t1--7", "agent---"] {
            assert_eq!(dash.read(key.as_bytes()).unwrap().tenant, None, "{key}");
        }
        for key in ["agent-t1", "agent-t1:7", "agent-t1-7:x", "agent", ""] {
            assert_eq!(dash.read(key.as_bytes()), None, "{key}");
        }
        let letters = layout("a{tenant}id{id}");
        assert_eq!(letters.read(b"at-1id7").unwrap().tenant, Some(tenant("t-1")));
        assert_eq!(letters.read(b"aacidid7").unwrap().tenant, None);
        assert_eq!(letters.read(b"aaci7"), None);
        assert_eq!(
            layout("agent-{tenant}").read(b"agent-t-1").unwrap().tenant,
            None,
            "or a key of another kind"
        );
    }

    #[test]
    fn the_marker_is_no_record() {
        assert!(layout("retentiond:{tenant}").read(b"retentiond:marker").is_none());
        assert!(layout("retentiond:{tenant}").read(b"retentiond:t-1").is_some());
    }

    #[test]
    fn a_pattern_has_no_special_bytes_but_its_own() {
        let agent = layout("a^g-e:{tenant}:{staff_id}");
        assert_eq!(agent.pattern(None), br"a\^g\-e:*:*");
        assert_eq!(agent.pattern(Some(&tenant("t*?[x]\\"))), br"a\^g\-e:t\*\?\[x\]\\:*");
    }
}
