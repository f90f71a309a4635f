//! Merkle tree hashing as RFC 6962 has it: roots, proofs that an entry is in, proofs that a log only grew.
//! It owns the arithmetic and nothing else: it knows no file, no signature and no entry's content.

use sha2::{Digest, Sha256};

/// SHA-256 of a node or a leaf.
pub type Hash = [u8; 32];

/// More hashes than any proof in a tree of at most 2^63 entries can have.
const PROOF_HASHES_MAX: usize = 63;

/// A complete subtree: the node at `level` (0 is the leaves) over entries
/// `index * 2^level .. (index + 1) * 2^level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node {
    /// Height above the leaves.
    pub level: u32,
    /// Counted from 0 within its level.
    pub index: u64,
}

/// A tree that grows leaf by leaf, in memory that grows with the logarithm of its size.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// Roots of the complete subtrees, largest first: one for each bit that is set in `size`.
    nodes: Vec<Hash>,
}

/// The root of a tree without entries.
pub fn empty_root() -> Hash {
    Sha256::digest(b"").into()
}

/// The hash of an entry.
pub fn leaf_hash(entry: &[u8]) -> Hash {
    Sha256::new().chain_update([0x00]).chain_update(entry).finalize().into()
}

/// The hash of an inner node.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([0x01]).chain_update(left).chain_update(right).finalize().into()
}

impl Frontier {
    /// A tree without entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many leaves were pushed.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds the next leaf, by its hash.
    pub fn push(&mut self, leaf: Hash) {
        let mut node = leaf;
        // Each trailing one bit of the size is a complete subtree that the new node closes.
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.nodes.pop() {
                node = node_hash(&left, &node);
            }
        }
        self.nodes.push(node);
        self.size += 1;
    }

    /// The root over everything pushed so far.
    pub fn root(&self) -> Hash {
        join(&self.nodes)
    }

    /// Roots of the complete subtrees, largest first.
    pub fn nodes(&self) -> &[Hash] {
        &self.nodes
    }
}

/// The root over leaf hashes that come one by one.
pub fn root_of(leaves: impl IntoIterator<Item = Hash>) -> Hash {
    let mut frontier = Frontier::new();
    for leaf in leaves {
        frontier.push(leaf);
    }
    frontier.root()
}

/// Joins the roots of complete subtrees, largest first, into the root of the whole; nothing joins to
/// [`empty_root`].
pub fn join(subtrees: &[Hash]) -> Hash {
    let mut from_right = subtrees.iter().rev();
    match from_right.next() {
        None => empty_root(),
        Some(last) => from_right.fold(*last, |right, left| node_hash(left, &right)),
    }
}

/// The proof that the entry `index` is in a tree of `size` entries, lowest level first. `node` gives the hashes of
/// complete subtrees. `None` where there is no such entry.
///
/// # Errors
/// Whatever `node` fails with.
pub fn inclusion_proof<E>(
    index: u64,
    size: u64,
    mut node: impl FnMut(Node) -> Result<Hash, E>,
) -> Result<Option<Vec<Hash>>, E> {
    if index >= size {
        return Ok(None);
    }
    let mut ranges = Vec::new();
    let (mut start, mut end) = (0, size);
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            ranges.push((middle, end));
            end = middle;
        } else {
            ranges.push((start, middle));
            start = middle;
        }
    }
    ranges
        .into_iter()
        .rev()
        .map(|(start, end)| range_root(start, end, &mut node))
        .collect::<Result<_, _>>()
        .map(Some)
}

/// The proof that the tree of `new` entries begins with the tree of `old` entries. `None` where `old` is 0 or
/// larger than `new`.
///
/// # Errors
/// Whatever `node` fails with.
pub fn consistency_proof<E>(
    old: u64,
    new: u64,
    mut node: impl FnMut(Node) -> Result<Hash, E>,
) -> Result<Option<Vec<Hash>>, E> {
    if old == 0 || old > new {
        return Ok(None);
    }
    let mut ranges = Vec::new();
    let (mut start, mut end) = (0, new);
    while old != end {
        let middle = start + split(end - start);
        if old <= middle {
            ranges.push((middle, end));
            end = middle;
        } else {
            ranges.push((start, middle));
            start = middle;
        }
    }
    // The old root itself is known to who verifies; any other subtree that ends where it ends must be told.
    if start != 0 {
        ranges.push((start, end));
    }
    ranges
        .into_iter()
        .rev()
        .map(|(start, end)| range_root(start, end, &mut node))
        .collect::<Result<_, _>>()
        .map(Some)
}

/// True where `proof` shows that the leaf is entry `index` of the tree of `size` entries with this root.
#[must_use]
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> bool {
    if index >= size || proof.len() > PROOF_HASHES_MAX {
        return false;
    }
    let (mut position, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if position & 1 == 1 || position == last {
            hash = node_hash(sibling, &hash);
            // On the right edge, levels without a sibling are passed over.
            while position & 1 == 0 && position != 0 {
                position >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        position >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// True where `proof` shows that the tree of `new` entries begins with the tree of `old` entries.
#[must_use]
pub fn verify_consistency(old: u64, old_root: &Hash, new: u64, new_root: &Hash, proof: &[Hash]) -> bool {
    if old == new {
        return proof.is_empty() && old_root == new_root;
    }
    if old == 0 {
        return proof.is_empty() && *old_root == empty_root();
    }
    if old > new || proof.len() > PROOF_HASHES_MAX {
        return false;
    }
    let (mut position, mut last) = (old - 1, new - 1);
    let passed = position.trailing_ones();
    position >>= passed;
    last >>= passed;
    // Where the old tree is one complete subtree, its root is the seed and not part of the proof.
    let (seed, rest) = if position == 0 {
        (*old_root, proof)
    } else {
        match proof.split_first() {
            Some((first, rest)) => (*first, rest),
            None => return false,
        }
    };
    let (mut old_hash, mut new_hash) = (seed, seed);
    for sibling in rest {
        if last == 0 {
            return false;
        }
        if position & 1 == 1 || position == last {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
            while position & 1 == 0 && position != 0 {
                position >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        position >>= 1;
        last >>= 1;
    }
    last == 0 && old_hash == *old_root && new_hash == *new_root
}

/// Hash of a range of entries that RFC 6962 treats as one subtree: it begins at a multiple of a power of two that is
/// no smaller than its length.
fn range_root<E>(start: u64, end: u64, node: &mut impl FnMut(Node) -> Result<Hash, E>) -> Result<Hash, E> {
    let mut subtrees = Vec::new();
    let mut at = start;
    while at < end {
        let level = (end - at).ilog2();
        subtrees.push(node(Node { level, index: at >> level })?);
        at += 1 << level;
    }
    Ok(join(&subtrees))
}

/// The largest power of two smaller than `length`, which is at least 2.
fn split(length: u64) -> u64 {
    1 << (length - 1).ilog2()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    /// The definition of RFC 6962, section 2.1, word for word: slow and plainly right.
    fn defined_root(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => empty_root(),
            [leaf] => *leaf,
            _ => {
                let k = leaves.len().next_power_of_two() / 2;
                node_hash(&defined_root(&leaves[..k]), &defined_root(&leaves[k..]))
            }
        }
    }

    fn leaves(count: u64) -> Vec<Hash> {
        (0..count).map(|i| leaf_hash(&i.to_be_bytes())).collect()
    }

    fn node_of(leaves: &[Hash]) -> impl FnMut(Node) -> Result<Hash, Infallible> {
        move |node| {
            let width = 1_usize << node.level;
            let start = usize::try_from(node.index).unwrap() * width;
            Ok(defined_root(&leaves[start..start + width]))
        }
    }

    /// The eight entries of the reference implementation of Certificate Transparency, and their roots.
    const VECTOR_ENTRIES: [&str; 8] =
        ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    const VECTOR_ROOTS: [&str; 8] = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    #[test]
    fn roots_equal_the_reference_vectors_of_certificate_transparency() {
        assert_eq!(
            hex::encode(empty_root()),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        let mut frontier = Frontier::new();
        for (entry, root) in VECTOR_ENTRIES.iter().zip(VECTOR_ROOTS) {
            frontier.push(leaf_hash(&hex::decode(entry).unwrap()));
            assert_eq!(hex::encode(frontier.root()), root);
        }
    }

    #[test]
    fn an_inclusion_proof_equals_the_reference_vector() {
        let leaves: Vec<Hash> = VECTOR_ENTRIES.iter().map(|e| leaf_hash(&hex::decode(e).unwrap())).collect();
        let proof = inclusion_proof(0, 8, node_of(&leaves)).unwrap().unwrap();
        assert_eq!(
            proof.iter().map(hex::encode).collect::<Vec<_>>(),
            [
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ]
        );
    }

    #[test]
    fn the_frontier_equals_the_definition_at_every_size() {
        let leaves = leaves(200);
        let mut frontier = Frontier::new();
        for size in 0..=leaves.len() {
            assert_eq!(frontier.root(), defined_root(&leaves[..size]), "size {size}");
            if let Some(leaf) = leaves.get(size) {
                frontier.push(*leaf);
            }
        }
    }

    #[test]
    fn every_entry_of_every_size_is_proven_and_nothing_beside_it() {
        let leaves = leaves(200);
        for size in 1..=200_u64 {
            let tree = &leaves[..usize::try_from(size).unwrap()];
            let root = defined_root(tree);
            for (index, leaf) in (0..size).zip(tree) {
                let proof = inclusion_proof(index, size, node_of(tree)).unwrap().unwrap();
                assert!(verify_inclusion(leaf, index, size, &proof, &root), "{index} of {size}");
                assert!(!verify_inclusion(leaf, index + 1, size, &proof, &root));
                assert!(!verify_inclusion(&root, index, size, &proof, &root) || size == 1);
                let longer: Vec<Hash> = proof.iter().copied().chain([root]).collect();
                assert!(!verify_inclusion(leaf, index, size, &longer, &root));
                if !proof.is_empty() {
                    assert!(!verify_inclusion(leaf, index, size, &proof[1..], &root));
                }
            }
        }
    }

    #[test]
    fn growth_between_any_two_sizes_is_proven() {
        let leaves = leaves(66);
        for new in 1..=66_u64 {
            let tree = &leaves[..usize::try_from(new).unwrap()];
            let new_root = defined_root(tree);
            for old in 1..=new {
                let old_root = defined_root(&leaves[..usize::try_from(old).unwrap()]);
                let proof = consistency_proof(old, new, node_of(tree)).unwrap().unwrap();
                assert!(verify_consistency(old, &old_root, new, &new_root, &proof), "{old} to {new}");
                let forked = leaf_hash(b"fork");
                assert!(!verify_consistency(old, &forked, new, &new_root, &proof));
                assert!(!verify_consistency(old, &old_root, new, &forked, &proof));
                if old < new {
                    assert!(!verify_consistency(old + 1, &old_root, new, &new_root, &proof));
                }
            }
        }
    }

    #[test]
    fn there_is_no_proof_for_what_is_not_there() {
        let leaves = leaves(4);
        assert_eq!(inclusion_proof(4, 4, node_of(&leaves)), Ok(None));
        assert_eq!(inclusion_proof(0, 0, node_of(&leaves)), Ok(None));
        assert_eq!(consistency_proof(5, 4, node_of(&leaves)), Ok(None));
        assert_eq!(consistency_proof(0, 4, node_of(&leaves)), Ok(None));
        assert!(!verify_inclusion(&leaves[0], 0, 0, &[], &empty_root()));
        assert!(!verify_inclusion(&leaves[0], 4, 4, &[], &leaves[0]));
        assert!(!verify_inclusion(&leaves[0], 0, u64::MAX, &[leaves[0]; 64], &leaves[0]));
        assert!(verify_consistency(0, &empty_root(), 4, &defined_root(&leaves), &[]));
        assert!(!verify_consistency(0, &leaves[0], 4, &defined_root(&leaves), &[]));
    }

    proptest! {
        #[test]
        fn a_changed_bit_anywhere_breaks_a_proof(size in 2_u64..300, at in any::<prop::sample::Index>(), bit in 0_usize..256, hash in any::<prop::sample::Index>()) {
            let tree = leaves(size);
            let root = defined_root(&tree);
            let index = at.index(tree.len());
            let mut proof = inclusion_proof(index as u64, size, node_of(&tree)).unwrap().unwrap();
            let broken = hash.index(proof.len());
            proof[broken][bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!verify_inclusion(&tree[index], index as u64, size, &proof, &root));
        }
    }
}
