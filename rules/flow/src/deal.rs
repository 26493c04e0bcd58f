//! Shuffle sharding: a flow's hash deals it a small hand of queues, so that two flows seldom share all of theirs.

/// Deals `hand` different cards of a deck of `deck`, chosen by `hash` alone. `hand` is at most `deck`.
pub fn deal(hash: u64, deck: usize, hand: usize, mut pick: impl FnMut(usize)) {
    const HAND_MAX: usize = 16;
    let hand = hand.min(deck).min(HAND_MAX);
    let mut cards = [0usize; HAND_MAX];
    let mut rest = hash;
    for index in 0..hand {
        let left = (deck - index) as u64;
        let mut card = (rest % left) as usize;
        rest /= left;
        // Counted among the cards that are left: step over those already dealt, smallest first.
        let mut dealt = [usize::MAX; HAND_MAX];
        dealt[..index].copy_from_slice(&cards[..index]);
        dealt[..index].sort_unstable();
        for taken in &dealt[..index] {
            if card >= *taken {
                card += 1;
            }
        }
        cards[index] = card;
        pick(card);
    }
}

#[cfg(test)]
mod tests {
    use super::deal;

    fn hand(hash: u64, deck: usize, size: usize) -> Vec<usize> {
        let mut cards = Vec::new();
        deal(hash, deck, size, |card| cards.push(card));
        cards
    }

    #[test]
    fn a_hand_holds_different_cards_of_the_deck() {
        for hash in (0..2000u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15)) {
            let mut cards = hand(hash, 64, 6);
            assert!(cards.iter().all(|c| *c < 64));
            cards.sort_unstable();
            cards.dedup();
            assert_eq!(cards.len(), 6);
        }
        assert_eq!(hand(7, 1, 1), [0]);
        assert_eq!(hand(7, 2, 5).len(), 2);
    }

    #[test]
    fn every_card_is_dealt_about_as_often() {
        let mut seen = [0u32; 8];
        for hash in 0..8 * 7 * 6 {
            deal(hash, 8, 3, |card| seen[card] += 1);
        }
        assert_eq!(seen, [126; 8]);
    }
}
