//! `message!`: makes a plain struct a message: its table, `Default`, `Clone`, `PartialEq` and `Debug`.
//! Invariant: the macro lists every field of the struct, or the zero constant does not compile.

/// Implements `Message` and the usual traits for a struct that the code generator wrote.
///
/// `Type "package" Form atomic seed b"slots" b"order" { field: Type, "key" number flags, facts; ... }`, and behind it
/// `flat { path.to.field, "key" number flags, facts; ... }` when messages are embedded.
#[macro_export]
macro_rules! message {
    (
        $type:ident $package:literal $form:ident $atomic:literal $seed:literal $slots:literal $order:literal
        { $($field:ident : $fty:ty, $key:literal $number:literal $flags:expr $(, $facts:expr)?;)* }
        $(flat { $($head:ident $(. $path:ident)* , $fkey:literal $fnumber:literal $fflags:expr $(, $ffacts:expr)?;)* })?
    ) => {
        #[allow(dead_code, unused_imports, reason = "messages without fields")]
        const _: () = {
            use $crate::table::{Field, FieldType, Form, Message, Msg, MsgPtr, layout};
            const N: &$type = <$type as Message>::ZERO_REF;
            const fn at<F: FieldType>(at: &'static F, key: &'static str, number: u16, flags: u16) -> Field {
                // SAFETY: only called below, with references into N.
                unsafe { $crate::table::field(N, at, key, number, flags) }
            }
            static FIELDS: &[Field] = &[
                $( at(&N.$field, $key, $number, $flags) $(.with_facts(&$facts))? , )*
            ];
            static TABLE: Msg = layout::<$type>(
                stringify!($type),
                $package,
                Form::$form,
                $atomic,
                (
                    FIELDS,
                    $crate::message!(@json $({ $(
                        (at(&N.$head $(.$path)*, $fkey, $fnumber, $fflags) $(.with_facts(&$ffacts))?)
                    )* })?),
                    $order,
                ),
                ($seed, $slots),
            );
            // SAFETY: the table above has every field of the struct (ZERO names them all), made from references into ZERO_REF.
            unsafe impl Message for $type {
                const ZERO: Self = $type { $($field: <$fty as FieldType>::FIELD_ZERO),* };
                const ZERO_REF: &'static Self = &<Self as Message>::ZERO;
                const MSG: MsgPtr = MsgPtr::new(&TABLE);
            }
            impl Default for $type {
                #[inline]
                fn default() -> Self {
                    <Self as Message>::ZERO
                }
            }
            impl Clone for $type {
                #[inline]
                fn clone(&self) -> Self {
                    $crate::ops::clone(self)
                }
            }
            impl PartialEq for $type {
                #[inline]
                fn eq(&self, other: &Self) -> bool {
                    $crate::ops::eq(self, other)
                }
            }
            impl std::fmt::Debug for $type {
                fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    std::fmt::Debug::fmt(&$crate::MsgRef::new(self), f)
                }
            }
        };
    };
    (@json) => { FIELDS };
    (@json { $(($flat:expr))* }) => { { static JSON: &[Field] = &[$($flat),*]; JSON } };
}
