using System.Numerics;
using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Verify;

/// <summary>Addresses are multiples of what their accesses need, and known offsets in shared memory stay inside their region.</summary>
static class AlignmentRules
{
    public static void Check(Kernel kernel, ValueFacts facts, Findings findings)
    {
        foreach (Operation operation in kernel.AllOperations())
        {
            switch (operation)
            {
                case LoadGlobal o: Address(o, o.Address, o.ByteOffset, 4 * o.Loaded.Count); break;
                case StoreGlobal o: Address(o, o.Address, o.ByteOffset, 4 * o.Stored.Count); break;
                case StoreGlobalHalf o: Address(o, o.Address, o.ByteOffset, 2); break;
                case AddGlobal o: Address(o, o.Address, o.ByteOffset, 4 * o.Added.Count); break;
                case AtomicAdd o: Address(o, o.Address, o.ByteOffset, 4); break;
                case LoadShared o: Shared(o, o.Address, o.ByteOffset, 4 * o.Loaded.Count); break;
                case StoreShared o: Shared(o, o.Address, o.ByteOffset, 4 * o.Stored.Count); break;
                case StoreMatrix o: Shared(o, o.Address, 0, 16); break;
                case LoadMatrix o: Shared(o, o.Address, o.ByteOffset, 16); break;
                case BarrierInitialize o: Shared(o, o.Address, 0, 8); break;
                case BarrierArrive o: Address(o, o.Address, 0, 8); break;
                case BarrierExpect o: Shared(o, o.Address, 0, 8); break;
                case BarrierWait o: Shared(o, o.Address, 0, 8); break;
                case TensorLoad o: Box(o, o.Map, o.Destination); break;
                case TensorStore o: Box(o, o.Map, o.Taken); break;
                case Wgmma o:
                    Descriptor(o, "A", o.ADescriptor);
                    Descriptor(o, "B", o.BDescriptor);
                    break;
                default: break;
            }
        }

        void Address(Operation operation, Value address, long offset, int bytes)
        {
            int power = Math.Min(facts.Of(address).Alignment, offset == 0 ? 63 : BitOperations.TrailingZeroCount(offset));
            if (power < BitOperations.Log2((uint)bytes))
                findings.Add(VerifierRule.Alignment, operation.Source, $"'{operation.Mnemonic}' of {bytes} bytes has an address that is a multiple of {1L << power} only, expected {bytes}", "align the address or move less at once");
        }

        void Shared(Operation operation, Value address, int offset, int bytes)
        {
            Address(operation, address, offset, bytes);
            Range(operation, address, offset, bytes);
        }

        void Range(Operation operation, Value address, int offset, int bytes)
        {
            Fact fact = facts.Of(address);
            if (fact.Number is not { } number || BitOperations.PopCount(fact.Regions) != 1) return;
            SharedRegion region = kernel.SharedRegions[BitOperations.TrailingZeroCount(fact.Regions)];
            long at = (long)number + offset;
            if (at < region.ByteOffset || at + bytes > region.ByteOffset + region.Bytes)
                findings.Add(VerifierRule.SharedMemory, operation.Source, $"'{operation.Mnemonic}' touches bytes {at - region.ByteOffset} to {at - region.ByteOffset + bytes - 1} of region '{region.Name}', which has {region.Bytes}", "reserve more or address less");
        }

        void Box(Operation operation, int parameter, Value address)
        {
            var map = (TensorMapParameter)kernel.Parameters[parameter];
            int needed = map.Swizzle == Swizzle.Bytes128 ? 1024 : 128, power = facts.Of(address).Alignment;
            if (power < BitOperations.Log2((uint)needed))
                findings.Add(VerifierRule.Alignment, operation.Source, $"'{operation.Mnemonic}' of map '{map.Name}' has a shared address that is a multiple of {1L << power} only, expected {needed}{(needed == 1024 ? ", the period of the swizzle" : "")}", "align the region and the stages");
            Range(operation, address, 0, map.BoxBytes);
        }

        void Descriptor(Wgmma operation, string operand, Value descriptor)
        {
            // In 16-byte units.
            int power = facts.Of(descriptor).Alignment;
            if (power < 6)
                findings.Add(VerifierRule.Alignment, operation.Source, $"'wgmma' reads {operand} from an address that is a multiple of {16L << power} bytes only, expected 1024, the period of the swizzle", "align the region, and step by multiples of 8 rows");
        }
    }
}
