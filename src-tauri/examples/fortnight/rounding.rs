//! Quantiles, and numbers for people: rounded in integers, so that every platform prints the same.

use std::time::Duration;

/// In order.
pub fn sorted(durations: impl Iterator<Item = Duration>) -> Vec<Duration> {
    let mut sorted: Vec<_> = durations.collect();
    sorted.sort_unstable();
    sorted
}

/// The least value that so many percent do not exceed.
pub fn at<T: Copy>(sorted: &[T], percent: usize) -> Option<T> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

/// The same of durations; none if there is none.
pub fn quantile(sorted: &[Duration], percent: usize) -> Duration {
    at(sorted, percent).unwrap_or_default()
}

/// Hours with one decimal.
pub fn hours(duration: Duration) -> f64 {
    tenths(duration.as_secs().into(), 3600)
}

/// Units with one decimal, rounded in integers: the same on every platform.
pub fn tenths(amount: u128, unit: u128) -> f64 {
    decimal((amount * 20 + unit) / (unit * 2), 10.0)
}

/// A share with three decimals.
pub fn thousandths(part: u64, whole: u64) -> f64 {
    let whole = u128::from(whole.max(1));
    decimal((u128::from(part) * 2000 + whole) / (whole * 2), 1000.0)
}

fn decimal(amount: u128, per: f64) -> f64 {
    f64::from(u32::try_from(amount).unwrap_or(u32::MAX)) / per
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_and_quantiles_are_members() {
        let shown = |secs| hours(Duration::from_secs(secs)).to_string();
        assert_eq!(
            [shown(0), shown(179), shown(180), shown(3600)],
            ["0", "0", "0.1", "1"]
        );
        let share = |part, whole| thousandths(part, whole).to_string();
        assert_eq!(
            [share(1, 3), share(2, 3), share(5, 5), share(0, 0)],
            ["0.333", "0.667", "1", "0"]
        );
        let all = [1, 2, 3, 4];
        let found = [0, 25, 26, 50, 95, 100].map(|percent| at(&all, percent));
        assert_eq!(found, [Some(1), Some(1), Some(2), Some(2), Some(4), Some(4)]);
        assert_eq!(at::<u64>(&[], 50), None);
    }
}
