//! How the server's seats are divided among levels: nominal limits by shares, and every ten seconds new limits by
//! demand, within what each level lends and may borrow.

/// What a level's configuration asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// nominalConcurrencyShares.
    pub shares: u32,
    /// lendablePercent.
    pub lendable: u32,
    /// borrowingLimitPercent; none = as much as there is.
    pub borrowing: Option<u32>,
}

/// The seats of a level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Its own part.
    pub nominal: u32,
    /// What it keeps when it lends everything lendable.
    pub least: u32,
    /// What it has when it borrows all it may.
    pub most: u32,
}

/// A level's limits, of `total` seats divided by `sum` shares.
pub fn limits(total: u32, sum: u32, share: Share) -> Limits {
    let part = f64::from(total) * f64::from(share.shares) / f64::from(sum.max(1));
    let nominal = part.ceil();
    let percent = |p: u32| (nominal * f64::from(p) / 100.0).round() as u32;
    let nominal = nominal as u32;
    Limits {
        nominal,
        least: nominal.saturating_sub(percent(share.lendable)),
        most: nominal + share.borrowing.map_or(total, percent),
    }
}

/// The most seats one request of a queuing level may take.
pub fn seats_max(nominal: u32, hand: u32) -> u32 {
    let part = (f64::from(nominal) * 0.15).ceil() as u32;
    part.min(nominal / hand.max(1)).max(1)
}

/// A level that takes part in the division.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// Its limits.
    pub limits: Limits,
    /// The highest demand of the last period.
    pub highest: u32,
    /// The smoothed demand.
    pub smoothed: f64,
    /// Exempt levels take what they want first.
    pub exempt: bool,
}

impl Claim {
    fn floor(&self) -> u32 {
        let wanted = match self.exempt {
            true => self.highest,
            false => self.highest.min(self.limits.nominal),
        };
        self.limits.least.max(wanted)
    }
}

/// The new limits, in the order of the claims.
pub fn share_out(claims: &[Claim]) -> Vec<u32> {
    let total: u32 = claims.iter().map(|c| c.limits.nominal).sum();
    let exempt: u32 = claims.iter().filter(|c| c.exempt).map(Claim::floor).sum();
    let left = i64::from(total) - i64::from(exempt);
    let limited = || claims.iter().filter(|c| !c.exempt);
    let least: i64 = limited().map(|c| i64::from(c.limits.least)).sum();
    let floors: i64 = limited().map(|c| i64::from(c.floor())).sum();
    let proportion = if left > floors {
        fair(left as f64, claims)
    } else {
        0.0
    };
    claims
        .iter()
        .map(|claim| {
            let floor = claim.floor();
            if claim.exempt {
                return floor;
            }
            if left <= least {
                return claim.limits.least;
            }
            if left <= floors {
                let part = (left - least) as f64 / (floors - least) as f64;
                let above = f64::from(floor - claim.limits.least);
                return claim.limits.least + (above * part).round() as u32;
            }
            claim.at(proportion).round() as u32
        })
        .collect()
}

impl Claim {
    fn target(&self) -> f64 {
        const TARGET_MIN: f64 = 0.001;
        f64::from(self.floor()).max(self.smoothed).max(TARGET_MIN)
    }

    /// Its seats when every level gets this proportion of its target, within its bounds.
    fn at(&self, proportion: f64) -> f64 {
        let most = f64::from(self.limits.most);
        (proportion * self.target())
            .min(most)
            .max(f64::from(self.floor()))
    }
}

/// The proportion at which the limited levels together have `wanted` seats, found by halving: what they have grows
/// with it.
fn fair(wanted: f64, claims: &[Claim]) -> f64 {
    let sum = |p: f64| -> f64 { claims.iter().filter(|c| !c.exempt).map(|c| c.at(p)).sum() };
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..64 {
        if sum(high) >= wanted {
            break;
        }
        high *= 2.0;
    }
    for _ in 0..100 {
        let middle = (low + high) / 2.0;
        if sum(middle) < wanted {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(nominal: u32, lendable: u32, highest: u32, smoothed: f64) -> Claim {
        let least = nominal - lendable;
        let most = nominal + 600;
        Claim {
            limits: Limits {
                nominal,
                least,
                most,
            },
            highest,
            smoothed,
            exempt: false,
        }
    }

    #[test]
    fn nominal_limits_are_upstreams() {
        // The suggested levels of a fresh cluster: 245 shares of 600 seats.
        let of = |shares, lendable| {
            let share = Share {
                shares,
                lendable,
                borrowing: None,
            };
            limits(600, 245, share)
        };
        assert_eq!((of(30, 33).nominal, of(30, 33).least), (74, 50));
        assert_eq!((of(100, 90).nominal, of(100, 90).least), (245, 24));
        assert_eq!((of(0, 0).nominal, of(0, 0).most), (0, 600));
        assert_eq!(seats_max(98, 6), 15);
        assert_eq!(seats_max(3, 8), 1);
    }

    #[test]
    fn idle_levels_lend_to_busy_ones() {
        let shared = share_out(&[claim(100, 50, 100, 100.0), claim(100, 50, 0, 0.0)]);
        assert_eq!(shared, [133, 67]);
    }

    #[test]
    fn equal_demand_gives_equal_limits() {
        let busy = claim(100, 50, 100, 300.0);
        assert_eq!(share_out(&[busy, busy]), [100, 100]);
        assert_eq!(share_out(&[claim(10, 5, 0, 0.0); 2]), [10, 10]);
    }

    #[test]
    fn exempt_levels_come_first_and_least_limits_hold() {
        let mut exempt = claim(0, 0, 190, 190.0);
        exempt.exempt = true;
        assert_eq!(
            share_out(&[
                exempt,
                claim(100, 50, 100, 100.0),
                claim(100, 50, 100, 100.0)
            ]),
            [190, 50, 50]
        );
    }
}
