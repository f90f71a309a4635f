//! Where the log's pieces lie and what is in them at any size: C2SP `tlog-tiles` paths and the tree's right edge.
//! It owns names and arithmetic, is pure, and opens no file.

use crate::audit::merkle::{Frontier, Hash, join};

/// Hashes in a full tile and entries in a full bundle, as the format has it.
pub(crate) const TILE_WIDTH: u64 = 256;

/// Bits of an index that one level of tiles covers.
const TILE_BITS: u32 = 8;

/// What a piece holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Hashes of complete subtrees of 256^level entries.
    Hashes(u32),
    /// The entries themselves.
    Entries,
}

/// One file below `tile/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tile {
    /// What it holds.
    pub(crate) kind: Kind,
    /// Counted from 0 within its kind.
    pub(crate) index: u64,
    /// How many hashes or entries: 1 to 256.
    pub(crate) width: u64,
}

/// The tiles on the right edge of a growing tree: what is not yet in a full tile, by level.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Edge {
    size: u64,
    levels: Vec<Vec<Hash>>,
}

impl Tile {
    /// The piece of this kind and index in a log of `size` entries; `None` where there is none.
    pub(crate) fn of_size(kind: Kind, index: u64, size: u64) -> Option<Self> {
        let hashes = match kind {
            Kind::Hashes(level) => size.checked_shr(TILE_BITS * level).unwrap_or(0),
            Kind::Entries => size,
        };
        let before = index.checked_mul(TILE_WIDTH)?;
        let width = hashes.checked_sub(before)?.min(TILE_WIDTH);
        (width > 0).then_some(Self { kind, index, width })
    }

    /// The path below the log's folder.
    pub(crate) fn path(&self) -> String {
        let suffix = if self.width == TILE_WIDTH { String::new() } else { format!(".p/{}", self.width) };
        format!("{}{suffix}", self.full_path())
    }

    /// The folder that holds the partial versions of this piece.
    pub(crate) fn partials_path(&self) -> String {
        format!("{}.p", self.full_path())
    }

    /// Reads a path; `None` where it is not exactly the path of a piece.
    pub(crate) fn parse(path: &str) -> Option<Self> {
        let (kind, rest) = path.strip_prefix("tile/")?.split_once('/')?;
        let kind = match kind {
            "entries" => Kind::Entries,
            level => Kind::Hashes(level.parse().ok().filter(|level| *level < 64)?),
        };
        let (groups, width) = match rest.split_once(".p/") {
            Some((groups, width)) => (groups, width.parse().ok()?),
            None => (rest, TILE_WIDTH),
        };
        let mut index: u64 = 0;
        for group in groups.split('/') {
            let digits: u64 = group.trim_start_matches('x').parse().ok()?;
            index = index.checked_mul(1000)?.checked_add(digits)?;
        }
        let tile = Self { kind, index, width };
        // Only one spelling is right: written anew it must be the same.
        ((1..=TILE_WIDTH).contains(&width) && tile.path() == path).then_some(tile)
    }

    fn full_path(&self) -> String {
        let mut groups = format!("{:03}", self.index % 1000);
        let mut rest = self.index / 1000;
        while rest > 0 {
            groups = format!("x{:03}/{groups}", rest % 1000);
            rest /= 1000;
        }
        match self.kind {
            Kind::Hashes(level) => format!("tile/{level}/{groups}"),
            Kind::Entries => format!("tile/entries/{groups}"),
        }
    }
}

impl Edge {
    /// The pieces that hold the edge of a log of `size` entries, lowest level first; `None` for a level whose edge
    /// is empty.
    pub(crate) fn tiles(size: u64) -> Vec<Option<Tile>> {
        (0..levels_of(size))
            .map(|level| {
                let hashes = size >> (TILE_BITS * level);
                let width = hashes % TILE_WIDTH;
                (width > 0).then_some(Tile { kind: Kind::Hashes(level), index: hashes / TILE_WIDTH, width })
            })
            .collect()
    }

    /// Takes the edge of a log of `size` entries from the hashes of its [`Edge::tiles`].
    pub(crate) fn resume(size: u64, levels: Vec<Vec<Hash>>) -> Self {
        Self { size, levels }
    }

    /// Number of entries.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Leaf hashes that are not yet in a full tile.
    pub(crate) fn open_leaves(&self) -> &[Hash] {
        self.levels.first().map_or(&[], Vec::as_slice)
    }

    /// Adds a leaf; gives the tiles that it has filled, lowest first.
    pub(crate) fn push(&mut self, leaf: Hash) -> Vec<(Tile, Vec<Hash>)> {
        let mut filled = Vec::new();
        let mut hash = leaf;
        self.size += 1;
        for level in 0.. {
            let depth = filled.len();
            if depth == self.levels.len() {
                self.levels.push(Vec::new());
            }
            let hashes = &mut self.levels[depth];
            hashes.push(hash);
            if hashes.len() < 256 {
                break;
            }
            let full = std::mem::take(hashes);
            hash = tile_root(&full);
            let index = (self.size >> (TILE_BITS * (level + 1))) - 1;
            filled.push((Tile { kind: Kind::Hashes(level), index, width: TILE_WIDTH }, full));
        }
        filled
    }

    /// The partial tiles of this size with their hashes, lowest first.
    pub(crate) fn partials(&self) -> impl Iterator<Item = (Tile, &[Hash])> {
        Self::tiles(self.size)
            .into_iter()
            .zip(&self.levels)
            .filter_map(|(tile, hashes)| tile.map(|tile| (tile, hashes.as_slice())))
    }

    /// The root over all entries.
    pub(crate) fn root(&self) -> Hash {
        let mut subtrees = Vec::new();
        for hashes in self.levels.iter().rev() {
            let mut frontier = Frontier::new();
            hashes.iter().for_each(|hash| frontier.push(*hash));
            subtrees.extend_from_slice(frontier.nodes());
        }
        join(&subtrees)
    }
}

/// The root over the hashes of a full tile.
pub(crate) fn tile_root(hashes: &[Hash]) -> Hash {
    crate::audit::merkle::root_of(hashes.iter().copied())
}

/// Every full or partial piece of a log of this size, in a fixed order.
pub(crate) fn tiles_of(size: u64) -> impl Iterator<Item = Tile> {
    (0..levels_of(size))
        .map(Kind::Hashes)
        .chain([Kind::Entries])
        .flat_map(move |kind| (0..).map_while(move |index| Tile::of_size(kind, index, size)))
}

/// How many levels of tiles a log of this size has.
pub(crate) fn levels_of(size: u64) -> u32 {
    size.checked_ilog2().map_or(0, |bits| bits / TILE_BITS + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::merkle::leaf_hash;

    fn hashes(level: u32, index: u64, width: u64) -> Tile {
        Tile { kind: Kind::Hashes(level), index, width }
    }

    #[test]
    fn paths_are_those_of_the_format() {
        assert_eq!(hashes(0, 1_234_067, 256).path(), "tile/0/x001/x234/067");
        assert_eq!(hashes(1, 0, 17).path(), "tile/1/000.p/17");
        assert_eq!(Tile { kind: Kind::Entries, index: 999, width: 1 }.path(), "tile/entries/999.p/1");
        assert_eq!(hashes(0, 1000, 256).path(), "tile/0/x001/000");
    }

    #[test]
    fn a_path_is_read_only_in_its_one_spelling() {
        for tile in [
            hashes(0, 1_234_067, 256),
            hashes(63, 0, 255),
            Tile { kind: Kind::Entries, index: 1000, width: 9 },
        ] {
            assert_eq!(Tile::parse(&tile.path()), Some(tile));
        }
        for path in [
            "tile/0/0",
            "tile/0/x000/001",
            "tile/00/001",
            "tile/0/001.p/256",
            "tile/0/001.p/0",
            "tile/0/001.p/01",
            "tile/64/000",
            "tile/entries/001.p/",
            "tile/0/xx01/000",
            "tile/0/",
            "checkpoint",
            "tile/0/-01",
            "tile/0/+01",
        ] {
            assert_eq!(Tile::parse(path), None, "{path}");
        }
    }

    #[test]
    fn a_log_of_70000_has_the_tiles_that_the_format_says() {
        let tiles: Vec<Tile> = tiles_of(70_000).collect();
        let count = |kind, full: bool| {
            tiles.iter().filter(|t| t.kind == kind && (t.width == TILE_WIDTH) == full).count()
        };
        assert_eq!(count(Kind::Hashes(0), true), 273);
        assert_eq!(count(Kind::Hashes(1), true), 1);
        assert!(tiles.contains(&hashes(0, 273, 112)));
        assert!(tiles.contains(&hashes(1, 1, 17)));
        assert!(tiles.contains(&hashes(2, 0, 1)));
        assert!(tiles.contains(&Tile { kind: Kind::Entries, index: 273, width: 112 }));
        let of_256: Vec<String> = tiles_of(256).map(|t| t.path()).collect();
        assert_eq!(of_256, ["tile/0/000", "tile/1/000.p/1", "tile/entries/000"]);
        assert_eq!(tiles_of(0).count(), 0);
    }

    #[test]
    fn the_edge_has_the_root_of_the_tree_at_every_size_around_full_tiles() {
        let mut edge = Edge::default();
        let mut frontier = Frontier::new();
        let mut filled = Vec::new();
        assert_eq!(edge.root(), frontier.root());
        for i in 0..66_000_u64 {
            let leaf = leaf_hash(&i.to_be_bytes());
            frontier.push(leaf);
            filled.extend(edge.push(leaf).into_iter().map(|(tile, _)| tile));
            if !(1_030..=65_500).contains(&i) {
                assert_eq!(edge.root(), frontier.root(), "size {}", i + 1);
            }
        }
        let partials: Vec<Tile> = edge.partials().map(|(tile, _)| tile).collect();
        let mut all: Vec<Tile> = filled.into_iter().chain(partials.iter().copied()).collect();
        all.sort();
        let mut expected: Vec<Tile> = tiles_of(66_000).filter(|t| t.kind != Kind::Entries).collect();
        expected.sort();
        assert_eq!(all, expected);
        let levels = Edge::tiles(66_000)
            .into_iter()
            .map(|tile| {
                tile.map_or(Vec::new(), |t| edge.partials().find(|(p, _)| *p == t).unwrap().1.to_vec())
            })
            .collect();
        assert_eq!(Edge::resume(66_000, levels), edge);
    }
}
