// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Anchors messages of the network on a chain, and takes messages from contracts.
/// @dev Anybody may call it: readers believe only the emitters they know.
contract AlephSync {
    event SyncEvent(uint256 timestamp, address addr, string message);
    event MessageEvent(uint256 timestamp, address addr, string msgtype, string msgcontent);

    function doEmit(string memory message) external {
        emit SyncEvent(block.timestamp, msg.sender, message);
    }

    function doMessage(string memory msgtype, string memory msgcontent) external {
        emit MessageEvent(block.timestamp, msg.sender, msgtype, msgcontent);
    }
}
