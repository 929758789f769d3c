//! Which network's wallet may take the place of which: plain functions of what is known.
//!
//! One thing decides: a channel that nobody watches can lose its money. Practice may be left alone, real money may not.

use pilotlight_node::chain::networks::Chain;
use pilotlight_node::{Error, ErrorCode, Result};

use super::choice::{Choice, DEFAULT};

/// Whether the money of a network is real.
pub fn is_real(chain: &Chain) -> bool {
    *chain == Chain::Bitcoin
}

/// Which network is in use, from the person's choice. Without one it is the default; but a wallet with real money that is
/// there was chosen once, and what says so was lost (the app was deleted, and the Keychain keeps its items; or the file is
/// damaged). `real_wallet` says whether there is one.
///
/// # Errors
/// Those of `real_wallet`: then it is not known now.
pub fn in_use(choice: Choice, real_wallet: impl FnOnce() -> Result<bool>) -> Result<Chain> {
    match choice {
        Choice::Found(chain) => Ok(chain),
        Choice::Nothing if real_wallet()? => {
            tracing::warn!("no network is chosen, and there is a wallet with real money: it is used");
            Ok(Chain::Bitcoin)
        }
        Choice::Nothing => Ok(DEFAULT),
    }
}

/// Whether the wallet of `to` may take the place of that of `from`. `has_wallet` says whether there is one on `from`;
/// `keeps_real_money`, whether this kind of device can keep the words of real money.
///
/// # Errors
/// [`ErrorCode::RealMoneyStays`], [`ErrorCode::RealMoneyElsewhere`]; those of `has_wallet`.
pub fn may_move(
    from: &Chain,
    has_wallet: impl FnOnce() -> Result<bool>,
    to: &Chain,
    keeps_real_money: bool,
) -> Result<()> {
    if from == to {
        return Ok(());
    }
    if is_real(from) && has_wallet()? {
        let words = "a wallet with real money is not left unwatched";
        return Err(Error::new(ErrorCode::RealMoneyStays, words));
    }
    if is_real(to) && !keeps_real_money {
        let words = "the seed would be kept unencrypted";
        return Err(Error::new(ErrorCode::RealMoneyElsewhere, words));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    use Chain::{Bitcoin, Signet, Testnet4};
    use ErrorCode::{Locked, RealMoneyElsewhere, RealMoneyStays};

    fn unknown() -> Result<bool> {
        Err(Error::new(Locked, "not known"))
    }

    #[test]
    fn real_money_is_never_left_and_practice_always_may_be() {
        const PHONE: bool = true;
        const COMPUTER: bool = false;
        let table = [
            // From, whether a wallet is there, to, on what, and what is said.
            (Signet, Ok(false), Bitcoin, PHONE, None),
            (Signet, Ok(true), Bitcoin, PHONE, None),
            (Signet, Ok(true), Testnet4, PHONE, None),
            (Signet, unknown(), Bitcoin, PHONE, None),
            (Bitcoin, Ok(false), Signet, PHONE, None),
            (Bitcoin, Ok(true), Signet, PHONE, Some(RealMoneyStays)),
            (Bitcoin, Ok(true), Testnet4, PHONE, Some(RealMoneyStays)),
            (Bitcoin, unknown(), Signet, PHONE, Some(Locked)),
            (Bitcoin, Ok(true), Bitcoin, PHONE, None),
            (Bitcoin, Ok(true), Bitcoin, COMPUTER, None),
            (Signet, Ok(false), Bitcoin, COMPUTER, Some(RealMoneyElsewhere)),
            (Testnet4, Ok(true), Bitcoin, COMPUTER, Some(RealMoneyElsewhere)),
            (Signet, Ok(true), Testnet4, COMPUTER, None),
            (Bitcoin, Ok(false), Signet, COMPUTER, None),
            (Bitcoin, Ok(true), Signet, COMPUTER, Some(RealMoneyStays)),
        ];
        for (from, wallet, to, device, refused) in table {
            let said = may_move(&from, || wallet.clone(), &to, device);
            assert_eq!(
                said.err().map(|error| error.code()),
                refused,
                "{from} {wallet:?} {to} {device}"
            );
        }
    }

    #[test]
    fn a_lost_choice_does_not_hide_a_wallet_with_real_money() {
        let found = |chain: &Chain| Choice::Found(chain.clone());
        for chain in [Bitcoin, Signet, Testnet4] {
            let asked = || -> Result<bool> { panic!("asked without need") };
            assert_eq!(in_use(found(&chain), asked).unwrap(), chain);
        }
        assert_eq!(in_use(Choice::Nothing, || Ok(false)).unwrap(), Signet);
        assert_eq!(in_use(Choice::Nothing, || Ok(true)).unwrap(), Bitcoin);
        assert_eq!(in_use(Choice::Nothing, unknown).unwrap_err().code(), Locked);
    }
}
