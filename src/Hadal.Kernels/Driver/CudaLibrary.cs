using System.Runtime.InteropServices;

namespace Hadal.Kernels.Driver;

/// <summary>The whole native surface: functions of the NVIDIA driver's library. Every function returns a code, zero for success.</summary>
static unsafe partial class CudaLibrary
{
    public const string Name = "libcuda.so.1";

    [LibraryImport(Name)]
    public static partial int cuInit(uint flags);

    [LibraryImport(Name)]
    public static partial int cuDriverGetVersion(int* version);

    [LibraryImport(Name)]
    public static partial int cuGetErrorName(int code, byte** text);

    [LibraryImport(Name)]
    public static partial int cuGetErrorString(int code, byte** text);

    [LibraryImport(Name)]
    public static partial int cuDeviceGetCount(int* count);

    [LibraryImport(Name)]
    public static partial int cuDeviceGet(int* device, int ordinal);

    [LibraryImport(Name)]
    public static partial int cuDeviceGetName(byte* name, int length, int device);

    [LibraryImport(Name)]
    public static partial int cuDeviceGetUuid_v2(byte* uuid, int device);

    [LibraryImport(Name)]
    public static partial int cuDeviceTotalMem_v2(nuint* bytes, int device);

    [LibraryImport(Name)]
    public static partial int cuDeviceGetAttribute(int* value, int attribute, int device);

    [LibraryImport(Name)]
    public static partial int cuDevicePrimaryCtxRetain(nint* context, int device);

    [LibraryImport(Name)]
    public static partial int cuDevicePrimaryCtxRelease_v2(int device);

    [LibraryImport(Name)]
    public static partial int cuCtxSetCurrent(nint context);

    [LibraryImport(Name)]
    public static partial int cuCtxSynchronize();

    [LibraryImport(Name)]
    public static partial int cuMemGetInfo_v2(nuint* free, nuint* total);

    [LibraryImport(Name)]
    public static partial int cuMemAlloc_v2(ulong* address, nuint bytes);

    [LibraryImport(Name)]
    public static partial int cuMemFree_v2(ulong address);

    [LibraryImport(Name)]
    public static partial int cuPointerGetAttribute(void* value, int attribute, ulong address);

    [LibraryImport(Name)]
    public static partial int cuMemHostAlloc(void** address, nuint bytes, uint flags);

    [LibraryImport(Name)]
    public static partial int cuMemFreeHost(void* address);

    [LibraryImport(Name)]
    public static partial int cuMemcpyHtoD_v2(ulong to, void* from, nuint bytes);

    [LibraryImport(Name)]
    public static partial int cuMemcpyDtoH_v2(void* to, ulong from, nuint bytes);

    [LibraryImport(Name)]
    public static partial int cuMemcpyHtoDAsync_v2(ulong to, void* from, nuint bytes, nint stream);

    [LibraryImport(Name)]
    public static partial int cuMemcpyDtoHAsync_v2(void* to, ulong from, nuint bytes, nint stream);

    [LibraryImport(Name)]
    public static partial int cuMemcpyDtoDAsync_v2(ulong to, ulong from, nuint bytes, nint stream);

    [LibraryImport(Name)]
    public static partial int cuMemsetD8Async(ulong to, byte value, nuint count, nint stream);

    [LibraryImport(Name)]
    public static partial int cuMemsetD32Async(ulong to, uint value, nuint count, nint stream);

    [LibraryImport(Name)]
    public static partial int cuDeviceGetDefaultMemPool(nint* pool, int device);

    [LibraryImport(Name)]
    public static partial int cuMemPoolCreate(nint* pool, MemoryPoolProperties* properties);

    [LibraryImport(Name)]
    public static partial int cuMemPoolDestroy(nint pool);

    [LibraryImport(Name)]
    public static partial int cuMemPoolSetAttribute(nint pool, int attribute, void* value);

    [LibraryImport(Name)]
    public static partial int cuMemPoolGetAttribute(nint pool, int attribute, void* value);

    [LibraryImport(Name)]
    public static partial int cuMemAllocFromPoolAsync(ulong* address, nuint bytes, nint pool, nint stream);

    [LibraryImport(Name)]
    public static partial int cuMemFreeAsync(ulong address, nint stream);

    [LibraryImport(Name)]
    public static partial int cuStreamCreate(nint* stream, uint flags);

    [LibraryImport(Name)]
    public static partial int cuStreamDestroy_v2(nint stream);

    [LibraryImport(Name)]
    public static partial int cuStreamSynchronize(nint stream);

    [LibraryImport(Name)]
    public static partial int cuStreamWaitEvent(nint stream, nint theEvent, uint flags);

    [LibraryImport(Name)]
    public static partial int cuStreamBeginCapture_v2(nint stream, int mode);

    [LibraryImport(Name)]
    public static partial int cuStreamEndCapture(nint stream, nint* graph);

    [LibraryImport(Name)]
    public static partial int cuGraphInstantiateWithFlags(nint* executable, nint graph, ulong flags);

    [LibraryImport(Name)]
    public static partial int cuGraphLaunch(nint executable, nint stream);

    [LibraryImport(Name)]
    public static partial int cuGraphUpload(nint executable, nint stream);

    [LibraryImport(Name)]
    public static partial int cuGraphExecDestroy(nint executable);

    [LibraryImport(Name)]
    public static partial int cuGraphDestroy(nint graph);

    [LibraryImport(Name)]
    public static partial int cuEventCreate(nint* created, uint flags);

    [LibraryImport(Name)]
    public static partial int cuEventDestroy_v2(nint theEvent);

    [LibraryImport(Name)]
    public static partial int cuEventRecord(nint theEvent, nint stream);

    [LibraryImport(Name)]
    public static partial int cuEventSynchronize(nint theEvent);

    [LibraryImport(Name)]
    public static partial int cuEventQuery(nint theEvent);

    [LibraryImport(Name)]
    public static partial int cuEventElapsedTime(float* milliseconds, nint from, nint to);

    [LibraryImport(Name)]
    public static partial int cuModuleLoadDataEx(nint* module, void* image, uint count, int* options, void** values);

    [LibraryImport(Name)]
    public static partial int cuModuleUnload(nint module);

    [LibraryImport(Name)]
    public static partial int cuModuleGetFunction(nint* function, nint module, byte* name);

    [LibraryImport(Name)]
    public static partial int cuFuncGetAttribute(int* value, int attribute, nint function);

    [LibraryImport(Name)]
    public static partial int cuFuncSetAttribute(nint function, int attribute, int value);

    [LibraryImport(Name)]
    public static partial int cuLaunchKernelEx(LaunchConfiguration* configuration, nint function, void** arguments, void** extra);

    [LibraryImport(Name)]
    public static partial int cuTensorMapEncodeTiled(
        void* map, int type, uint rank, ulong address, ulong* sizes, ulong* strides, uint* box, uint* elementStrides, int interleave, int swizzle, int promotion, int fill);

    /// <summary>CUmemPoolProps.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct MemoryPoolProperties
    {
        public int AllocationType;
        public int HandleTypes;
        public int LocationType;
        public int LocationId;
        public nint SecurityAttributes;
        public nuint MaximumBytes;
        public ushort Usage;
        public fixed byte Reserved[54];
    }

    /// <summary>CUlaunchConfig.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct LaunchConfiguration
    {
        public uint GridX, GridY, GridZ, BlockX, BlockY, BlockZ, SharedBytes;
        public nint Stream;
        public LaunchAttribute* Attributes;
        public uint AttributeCount;
    }

    /// <summary>CUlaunchAttribute: a number and 64 bytes whose meaning it decides.</summary>
    [StructLayout(LayoutKind.Sequential, Size = 72)]
    public struct LaunchAttribute
    {
        public int Id;
        public int Padding;
        public int Value;
    }
}
